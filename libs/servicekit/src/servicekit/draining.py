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
BACKLOG = 1024


class Site(web.BaseSite):
    """A host and port that a runner listens on, which accepts what waits in its queue before it is closed.

    Closing a listening socket resets the connections in its queue, and `web.TCPSite` keeps its sockets to itself.
    """

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        super().__init__(runner)
        self.host = host
        self.port = port
        self.accept = cast(web.Server, runner.server)
        self.listener: asyncio.Server | None = None

    @property
    def name(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError where that is not possible."""
        await super().start()
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.accept, self.host, self.port, backlog=BACKLOG)

    async def stop(self) -> None:
        await super().stop()
        if self.listener is None:
            return
        queues = [socket.socket(fileno=os.dup(listening.fileno())) for listening in self.listener.sockets]
        self.listener.close()
        for queue in queues:
            with queue, contextlib.suppress(OSError):  # BlockingIOError: nobody waits any more
                while True:
                    connection, _ = queue.accept()
                    await asyncio.get_running_loop().connect_accepted_socket(self.accept, connection)


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
        for site in runner.sites:
            await site.stop()
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


def _has_idle_connection(server: web.Server | None) -> bool:
    connections = server.connections if server is not None else ()
    return any(isinstance(connection, CallerConnection) and connection.idle for connection in connections)
