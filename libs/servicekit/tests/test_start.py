"""A service receives requests as soon as it listens, and refuses none of them."""

import asyncio
import os
import signal
import socket
import time

import aiohttp
from aiohttp import web

from servicekit import garbage, standstills
from servicekit.http import frame
from servicekit.serving import serve


async def test_a_slow_start_is_not_taken_for_a_standstill(monkeypatch):
    """On a busy machine, the last step of the start takes long."""
    monkeypatch.setattr(standstills, "LONGEST_PAUSE", 0.7)
    monkeypatch.setattr(garbage, "pass_over_what_is_there", lambda: time.sleep(0.8))
    app = web.Application(middlewares=[frame()])
    app.add_routes([web.get("/", _answer)])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serving = asyncio.create_task(serve((app, "127.0.0.1", port)))
    async with aiohttp.ClientSession() as session, asyncio.timeout(10):
        assert [await _status(session, port) for _ in range(5)] == [200] * 5
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


async def _answer(_request):
    return web.Response()


async def _status(session, port):
    while True:
        try:
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                return response.status
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.01)
