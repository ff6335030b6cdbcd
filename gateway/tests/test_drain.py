"""A gateway that is told to stop: which requests it still accepts, and that requests in flight finish."""

import asyncio
import contextlib

import pytest

from websocket_peer import AUTHORIZATION, GOING_AWAY, ME, OPENING, Peer

TOKEN = "/oauth/token"


@contextlib.asynccontextmanager
async def _draining(gateway):
    """Tell the gateway to stop, and yield the task that ends when it has stopped."""
    stopping = asyncio.create_task(gateway.serving.drain())
    await asyncio.sleep(0)
    try:
        yield stopping
    finally:
        stopping.cancel()


async def _is_ready(gateway):
    async with gateway.connect(gateway.ops_port) as connection:
        await connection.send(gateway.bytes("GET", "/readyz"))
        return (await connection.response()).status == 200


async def test_new_requests_are_served_until_the_delay_is_over(start_gateway):
    gateway = await start_gateway(drain_delay=0.3)
    assert await _is_ready(gateway)
    async with gateway.connect() as kept:
        await kept.send(gateway.bytes("GET", TOKEN))
        assert (await kept.response()).get("Connection") is None
        async with _draining(gateway) as stopping:
            assert not await _is_ready(gateway)
            await kept.send(gateway.bytes("GET", TOKEN))
            assert (await kept.response()).get("Connection") == "close"
            assert await kept.rest() == b""
            answer = await gateway.request("GET", TOKEN)
            assert (answer.status, answer.get("Connection")) == (200, "close")
            assert not stopping.done()
            await asyncio.wait_for(stopping, 5)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", gateway.port)


async def test_requests_in_flight_are_finished_and_idle_connections_closed(start_gateway):
    gateway = await start_gateway(drain_delay=0)
    turn = asyncio.Event()

    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfi")
        await turn.wait()
        writer.write(b"nal")

    async with gateway.connect() as idle, gateway.connect() as busy:
        await idle.send(gateway.bytes("GET", TOKEN))
        await idle.response()
        gateway.auth.script = script
        await busy.send(gateway.bytes("GET", TOKEN))
        await gateway.auth.arrival(2)
        async with _draining(gateway) as stopping:
            assert await idle.rest() == b""
            assert not stopping.done()
            turn.set()
            assert (await busy.response()).body == b"final"
            assert await busy.rest() == b""
            await asyncio.wait_for(stopping, 5)


async def test_requests_that_do_not_end_are_not_waited_for_long(start_gateway):
    gateway = await start_gateway(drain_delay=0, drain_timeout=0.2)

    async def silence(_message, reader, _writer):
        await reader.read()

    gateway.auth.script = silence
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN))
        message = await gateway.auth.arrival()
        async with _draining(gateway) as stopping:
            await asyncio.wait_for(stopping, 5)
        await gateway.serving.close()
        await asyncio.wait_for(message.gone.wait(), 5)


async def test_websockets_are_told_that_the_gateway_goes_away(start_gateway):
    gateway = await start_gateway(drain_delay=0)
    async with gateway.connect() as connection:
        peer = Peer(gateway.users)
        await connection.send(gateway.bytes("GET", ME, *OPENING, AUTHORIZATION))
        assert (await connection.head()).status == 101
        await peer.accepted()
        async with _draining(gateway) as stopping:
            assert await connection.rest() == GOING_AWAY
            assert (await asyncio.wait_for(peer.reader.readexactly(8), 5))[:2] == b"\x88\x82"
            connection.writer.close()
            await asyncio.wait_for(stopping, 5)
        peer.end()
