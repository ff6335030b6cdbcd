"""A client that sends many requests at once gets all answers, and does not monopolize the process."""

import asyncio
import contextlib
import ssl

import pytest

from certificates import issue
from processes import spawned
from wire import Connection, until

TOKEN = "/oauth/token"
MANY = 3000


async def test_requests_that_one_client_sends_at_once_are_served_among_those_of_others(gateway):
    answered = 0

    async def read(connection):
        nonlocal answered
        for _ in range(MANY):
            assert (await connection.response()).status == 404
            answered += 1

    async with gateway.connect() as connection, gateway.connect() as other:
        await connection.send(gateway.bytes("GET", "/nowhere") * MANY)
        reading = asyncio.create_task(read(connection))
        await other.send(gateway.bytes("GET", TOKEN))
        assert (await other.response()).status == 200
        assert answered < MANY / 4
        await reading


@pytest.mark.parametrize("secure", [False, True])
async def test_a_client_that_reads_its_answers_late_gets_all_of_them(gateway, tmp_path, secure):
    """In a separate process, with uvloop: its buffers fill up in between, those of TLS included."""
    context, settings = None, {}
    if secure:
        files = tmp_path / "certificate.pem", tmp_path / "key.pem"
        issue(files, "api.example")
        settings = {"GATEWAY_TLS_CERTIFICATE": str(files[0]), "GATEWAY_TLS_KEY": str(files[1])}
        context = ssl.create_default_context(cafile=files[0])
        context.check_hostname = False
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000)

    async def script(_message, _reader, writer):
        writer.write(answer)

    gateway.auth.script = script
    async with spawned(gateway, **settings) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port, ssl=context, limit=2**14)
        with contextlib.closing(writer):
            writer.write(gateway.bytes("GET", TOKEN) * 1000)
            writer.transport.pause_reading()
            await _until_nothing_moves(gateway)
            assert len(gateway.auth.requests) < 1000
            writer.transport.resume_reading()
            connection = Connection(reader, writer)
            for _ in range(1000):
                assert (await asyncio.wait_for(connection.response(), 10)).status == 200


async def _until_nothing_moves(gateway):
    """Wait until the upstream has received no request for half a second: all buffers to the client are full."""
    seen, quiet = 0, 0

    def is_quiet():
        nonlocal seen, quiet
        quiet = quiet + 1 if len(gateway.auth.requests) == seen else 0
        seen = len(gateway.auth.requests)
        return quiet > 50 and seen > 0

    await until(is_quiet)
