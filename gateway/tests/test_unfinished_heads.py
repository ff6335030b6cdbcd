"""Heads that arrive in many packets: what each packet costs the gateway, and how many there may be."""

import asyncio
import contextlib
import socket

from processes import processor_time, spawned

TOKEN = "/oauth/token"
BYTES = 800  # below the most packets that a head may take
HEAD = b"GET /oauth/token HTTP/1.1\r\nHost: a.example\r\n"


async def test_a_packet_costs_no_more_behind_a_long_head(gateway):
    long = HEAD + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 7500) for number in range(8)) + b"Y: "
    assert 60_000 < len(long) < 64 * 1024 - BYTES
    async with spawned(gateway) as process:
        short = [await _cost(process, HEAD + b"Y: ") for _ in range(3)]
        behind_much = [await _cost(process, long) for _ in range(3)]
    assert min(behind_much) < 2 * min(short), "microseconds of the gateway's for each byte"


async def _cost(process, beginning):
    """Microseconds of processor time that each of many packets of one byte takes behind the beginning of a head."""
    before = processor_time(process.pid)
    with socket.create_connection(("127.0.0.1", process.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(beginning)
        for _ in range(BYTES):
            connection.sendall(b"x")
            await asyncio.sleep(0.0005)  # so that each is a packet of its own
        connection.sendall(b"\r\n\r\n")
        connection.settimeout(10)
        assert (await asyncio.to_thread(connection.recv, 65536)).startswith(b"HTTP/1.1 200")
    return (processor_time(process.pid) - before) / BYTES


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
    """Send `raw` in packets of so many bytes; each is read before the next is sent, as all of it runs in this loop."""
    connection.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(raw), size):
            await connection.send(raw[start : start + size])
            for _ in range(3):
                await asyncio.sleep(0)
