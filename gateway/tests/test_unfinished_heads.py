"""Heads that arrive in many packets, and the limit on their number."""

import asyncio
import contextlib
import socket

TOKEN = "/oauth/token"


async def test_a_head_may_come_byte_by_byte(gateway):
    raw = gateway.bytes("GET", TOKEN, *((f"X-{number}", "x" * 20) for number in range(20)))
    assert 500 < len(raw) < 1000
    async with gateway.connect() as connection:
        for _ in range(2):
            await _trickle(connection, raw)
            assert (await connection.response()).status == 200


async def test_a_head_in_too_many_packets_is_refused(gateway):
    raw = gateway.bytes("GET", TOKEN, ("X", "x" * 2000))
    async with gateway.connect() as connection:
        sending = asyncio.create_task(_trickle(connection, raw))
        answer = await connection.response()
        assert (answer.status, answer.get("Connection")) == (400, "close")
        assert await connection.rest() == b""
        sending.cancel()
    assert gateway.nothing_sent()


async def test_blank_lines_in_many_packets_are_refused(gateway):
    async with gateway.connect() as connection:
        sending = asyncio.create_task(_trickle(connection, b"\r\n" * 2000, 2))
        assert (await connection.response()).status == 400
        sending.cancel()


async def _trickle(connection, raw, size=1):
    """Send `raw` in packets of this size. Each is read before the next is sent, since everything runs in this loop."""
    connection.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(raw), size):
            await connection.send(raw[start : start + size])
            for _ in range(3):
                await asyncio.sleep(0)
