"""The WebSocket of a client that has vanished is closed; that of a silent client stays open."""

import asyncio
import time

import pytest

from gateway.clients import websocket
from gateway.clients.frames import PING
from websocket_peer import GOING_AWAY, ME, Peer, closing_code, flood, frame, opened
from wire import until


@pytest.fixture
def quiet(monkeypatch):
    """A ping interval that is short enough for a test."""
    monkeypatch.setattr(websocket, "QUIET_SECONDS", 0.5)


async def test_a_client_that_has_vanished_gives_its_place_back(start_gateway, quiet):
    """It is pinged once; without an answer, both sides are sent a close frame."""
    gateway = await start_gateway(connections=1)
    async with gateway.connect() as connection:
        started = time.monotonic()
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        assert await asyncio.wait_for(connection.reader.readexactly(2), 2) == PING
        assert 0.4 < time.monotonic() - started < 1.0
        assert await closing_code(peer.reader) == 1001
        assert 0.9 < time.monotonic() - started < 1.7
        assert await asyncio.wait_for(peer.reader.read(), 4) == b"", "it is cut off where it does not end by itself"
        peer.end()
        await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
        assert await connection.rest() == GOING_AWAY
    gateway.users.answers(200)
    assert (await gateway.request("GET", ME)).status == 200


async def test_a_client_that_answers_pings_lives_on(start_gateway, quiet):
    gateway = await start_gateway()
    pong = b"\x8a\x80" + bytes(4)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        for _ in range(4):
            assert await asyncio.wait_for(connection.reader.readexactly(2), 2) == PING
            await connection.send(pong)
            assert await asyncio.wait_for(peer.reader.readexactly(6), 2) == pong
        peer.end()
        assert await connection.rest() == b""


async def test_a_client_that_sends_is_not_pinged(start_gateway, quiet):
    gateway = await start_gateway()
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        for _ in range(15):
            await asyncio.sleep(0.1)
            await connection.send(frame(b"data", mask=bytes(4)))
        assert await peer.reader.readexactly(150) == frame(b"data", mask=bytes(4)) * 15
        peer.end()
        assert await connection.rest() == b""


@pytest.mark.parametrize("cut", [1, 3, 5, 60_000])
async def test_a_ping_is_never_put_into_a_frame(start_gateway, quiet, cut):
    """A client that is sent a long frame is not disconnected, since it cannot be pinged meanwhile."""
    gateway = await start_gateway()
    sent, following = frame(b"d" * 66_000), frame(b"next")
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        peer.writer.write(sent[:cut])
        for position in range(cut, cut + 15):
            await asyncio.sleep(0.1)
            peer.writer.write(sent[position : position + 1])
        peer.writer.write(sent[cut + 15 :] + following)
        passed = sent + PING + following
        assert await asyncio.wait_for(connection.reader.readexactly(len(passed)), 2) == passed
        peer.end()


async def test_a_client_that_vanished_within_a_frame_gives_its_place_back_too(start_gateway, quiet):
    gateway = await start_gateway()
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        peer.writer.write(frame(b"whole")[:4])
        assert await closing_code(peer.reader) == 1001
        await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
        assert await connection.rest() == frame(b"whole")[:4]
        peer.end()


async def test_a_client_that_reads_slowly_lives_on(start_gateway, quiet):
    gateway = await start_gateway()
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        flooding = asyncio.create_task(flood(peer.writer))
        transport = connection.writer.transport
        for _ in range(20):
            transport.pause_reading()
            await asyncio.sleep(0.1)
            transport.resume_reading()
            async with asyncio.timeout(4):
                assert len(await connection.reader.readexactly(2 * 1024 * 1024)) == 2 * 1024 * 1024
        flooding.cancel()
        peer.end()
