"""Drains the connections of a server that stops, without losing a request."""

import asyncio
import contextlib
import os
import socket
import time
from typing import cast

from aiohttp import hdrs, web

from servicekit.callers import CallerConnection

TIMEOUT = 1.0


class Draining:
    """Once begun, closes each connection after an answer that announces it.

    If a connection is closed between two requests, the next one may already be on its way: a login that nobody answers,
    and that the gateway must not send again. Connections that are still idle after a second are rarely used.
    """

    def __init__(self) -> None:
        self._begun = False

    async def drain(self, runner: web.AppRunner) -> None:
        """Accept no more connections; returns when all remaining ones have a request in flight, or after a second."""
        self._begun = True
        for site in list(runner.sites):
            await _stop(site, cast(web.Server, runner.server))
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if not _has_idle_connection(runner.server):
                return
            await asyncio.sleep(0.01)

    async def close_after(self, _request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Called when a response's headers are about to be sent."""
        if self._begun:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"  # aiohttp has written its headers already


async def _stop(site: web.BaseSite, server: web.Server) -> None:
    """Stop listening, but accept the connections in the backlog, which closing the socket would reset."""
    sockets = cast(asyncio.Server, site._server).sockets
    queues = [socket.socket(fileno=os.dup(listening.fileno())) for listening in sockets]
    await site.stop()
    for queue in queues:
        with queue, contextlib.suppress(OSError):  # BlockingIOError: the backlog is empty
            while True:
                connection, _ = queue.accept()
                await asyncio.get_running_loop().connect_accepted_socket(server, connection)


def _has_idle_connection(server: web.Server | None) -> bool:
    connections = server.connections if server is not None else ()
    return any(isinstance(connection, CallerConnection) and connection.idle for connection in connections)
