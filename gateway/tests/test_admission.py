"""Admission of connections: a share for each network, counted before TLS, and reserved file descriptors."""

import asyncio
import contextlib
import json
import resource
import signal
import socket
import ssl
import sys
from pathlib import Path

import pytest

from certificates import issue
from processes import spawned
from wire import Connection, until

TOKEN = "/oauth/token"
STRANGER = "127.0.0.9"


@pytest.fixture
def tls(tmp_path):
    """The settings of a gateway with TLS."""
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issue(files, "api.example")
    return {"tls_certificate": files[0], "tls_key": files[1]}


def _variables(settings):
    return {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}


async def test_connections_are_limited_before_their_tls_handshake(gateway, tls):
    limits = {"connections": 50, "connections_per_address": 5, "first_byte_timeout": 2}
    async with spawned(gateway, **_variables(tls | limits)) as process, _silent(process.port, 40) as held:
        await _all_but(held, 5)
        assert await _status_over_tls(gateway, process.port, STRANGER) == 200
        assert (await _stats(gateway, process))["counters"]["refused_connections_of_address"] == 35
        async with asyncio.timeout(10):  # the handshake must end within the timeout of the first byte
            await _all_but(held, 0)
        assert await _status_over_tls(gateway, process.port) == 200


async def test_a_handshake_in_time_gives_no_more_time_for_the_first_byte(start_gateway, tls):
    gateway = await start_gateway(first_byte_timeout=1, **tls)
    loop = asyncio.get_running_loop()
    started = loop.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    await asyncio.sleep(0.8)
    await writer.start_tls(_context())
    assert await Connection(reader, writer).rest() == b""
    assert loop.time() - started < 1.6
    assert await _status_over_tls(gateway, gateway.port) == 200
    await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)


async def test_a_handshake_that_fails_gives_its_place_back(start_gateway, tls):
    gateway = await start_gateway(connections=1, **tls)
    for _ in range(3):
        async with gateway.connect() as connection:
            await connection.send(gateway.bytes("GET", TOKEN))
            assert b"200 OK" not in await connection.rest()
        async with gateway.connect() as connection:  # and a handshake that its client gives up
            connection.writer.transport.abort()
    await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
    assert await _status_over_tls(gateway, gateway.port) == 200


async def test_nobody_waits_for_a_handshake_in_order_to_stop(gateway, tls):
    async with spawned(gateway, **_variables(tls)) as process, _silent(process.port, 3):
        async with asyncio.timeout(5):
            while (await _stats(gateway, process))["workers"][0]["connections"] < 3:
                pass
        process.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.process.communicate(), 5)


async def test_a_handshake_that_has_not_begun_does_not_hold_up_the_end(start_gateway, tls):
    gateway = await start_gateway(**tls)
    port = gateway.serving._data_path._port
    with socket.create_connection(("127.0.0.1", gateway.port)):
        async with asyncio.timeout(2):
            while not port.connections:  # noqa: ASYNC110 - seen at once, or the handshake has begun
                await asyncio.sleep(0)
            await port.end()


@pytest.mark.parametrize("secure", [False, True])
async def test_clients_do_not_get_the_last_file_descriptors(gateway, tls, secure):
    async with spawned(gateway, **_variables(tls if secure else {}), GATEWAY_ACCESS_LOG="0") as process:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (128, 128))
        async with _silent(process.port, 200) as held:
            line = json.loads(await asyncio.wait_for(process.process.stdout.readline(), 10))
            assert (line["event"], line["limit"], line["level"]) == ("out of file descriptors", 128, "error")
            assert line["connections_refused"] > 0
            for _ in range(20):
                async with gateway.connect(process.ops_port) as connection:
                    await connection.send(gateway.bytes("GET", "/readyz"))
                    answer = await connection.response()
                assert answer.status == 200, answer.body
            connections = (await _stats(gateway, process))["workers"][0]["connections"]
            assert 10 < connections < 64
            await _all_but(held, connections)
        async with asyncio.timeout(10):
            while await _attempt(gateway, process.port, secure=secure) != 200:
                pass
        process.process.send_signal(signal.SIGTERM)
        rest, _ = await process.process.communicate()
        assert b"out of file descriptors" not in rest, "a line for each"


async def test_connections_are_counted_by_ipv6_network():
    unshare = ("unshare", "--user", "--map-root-user", "--net")
    if await (await asyncio.create_subprocess_exec(*unshare, "true", stderr=asyncio.subprocess.DEVNULL)).wait():
        pytest.skip("needs a network namespace")
    addresses = [f"2001:db8:0:1::{number:x}" for number in (1, 2, 0xFFFF)]
    addresses += ["2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:0:4::1", "2001:db8:1::1"]
    script = str(Path(__file__).with_name("ipv6_networks.py"))
    process = await asyncio.create_subprocess_exec(
        *unshare, sys.executable, script, *addresses, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert json.loads(output.splitlines()[-1]) == [200, 200, 503, 200, 200, 503, 200]


@contextlib.asynccontextmanager
async def _silent(port, number):
    """Connections on which the client sends nothing."""
    async with contextlib.AsyncExitStack() as stack:
        connections = []
        for _ in range(number):
            with contextlib.suppress(ConnectionError):
                connections.append(Connection(*await asyncio.open_connection("127.0.0.1", port)))
                stack.callback(connections[-1].close)
        yield connections


async def _all_but(connections, number):
    """Wait until only this many are still open."""
    ends = {asyncio.create_task(connection.rest()): connection for connection in connections}
    async with asyncio.timeout(5):
        while len(pending := [end for end in ends if not end.done()]) > number:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    for end in pending:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)
    assert len(pending) == number


def _context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _status_over_tls(gateway, port, local="127.0.0.1"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=_context(), local_addr=(local, 0))
    connection = Connection(reader, writer)
    await connection.send(gateway.bytes("GET", TOKEN, ("Connection", "close")))
    status = (await connection.response()).status
    await connection.rest()
    connection.close()
    return status


async def _status(gateway, port, path):
    async with gateway.connect(port) as connection:
        await connection.send(gateway.bytes("GET", path))
        return (await connection.response()).status


async def _attempt(gateway, port, *, secure):
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        return await (_status_over_tls(gateway, port) if secure else _status(gateway, port, TOKEN))


async def _stats(gateway, process):
    async with gateway.connect(process.ops_port) as connection:
        await connection.send(gateway.bytes("GET", "/stats"))
        return (await connection.response()).json()
