"""A server that stops says so in each connection's last answer, and accepts no new connection."""

import asyncio
import socket
import time

import aiohttp
import pytest
from aiohttp import web

from servicekit.draining import Site
from servicekit.serving import Runner


@pytest.fixture
async def runner():
    async def answer(_request):
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/", answer)])
    runner = Runner(app)
    await runner.setup()
    yield runner
    await runner.cleanup()


@pytest.fixture
async def address(runner):
    site = Site(runner, "127.0.0.1", 0)
    await site.start()
    return site.listener.sockets[0].getsockname()


async def test_connections_in_use_end_with_an_answer(runner, address):
    url = f"http://127.0.0.1:{address[1]}/"
    async with aiohttp.ClientSession() as session:
        async with session.post(url) as response:
            assert "Connection" not in response.headers
        draining = asyncio.create_task(runner.drain())
        await asyncio.sleep(0.1)
        assert not draining.done(), "an idle connection may still be used"
        async with session.post(url) as response:
            assert (response.status, response.headers["Connection"]) == (200, "close")
        await asyncio.wait_for(draining, 0.5)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(url)


async def test_connections_that_wait_to_be_accepted_are_served(runner, address):
    waiting = [socket.create_connection(address) for _ in range(20)]  # the loop gets no chance to accept
    for connection in waiting:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await runner.drain()
    for connection in waiting:
        with connection:
            assert (await asyncio.to_thread(connection.recv, 1000)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_idle_connection_is_waited_for_a_second_only(runner, address):
    _, writer = await asyncio.open_connection(*address)
    started = time.monotonic()
    await runner.drain()
    assert 0.9 < time.monotonic() - started < 5
    writer.close()


async def test_nothing_is_waited_for_where_nobody_is_connected(runner, address):
    started = time.monotonic()
    await runner.drain()
    assert time.monotonic() - started < 0.5
