"""A gateway that was suspended does not forward earlier requests, and answers 503 instead."""

import asyncio
import contextlib
import signal

import pytest

from processes import free_ports, spawn

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
GOOD = ("Authorization", "Bearer good")


@pytest.fixture
async def process(gateway):
    """A gateway process in front of the upstreams of `gateway`: its port, and a function that suspends it."""
    port, ops_port = free_ports()
    urls = {f"GATEWAY_{name}_URL": f"http://127.0.0.1:{number}" for name, number in gateway.upstream_ports.items()}
    spawned = await spawn(
        GATEWAY_PORT=str(port), GATEWAY_OPS_PORT=str(ops_port), **urls, stdout=asyncio.subprocess.DEVNULL
    )

    @contextlib.contextmanager
    def stopped():
        spawned.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            spawned.send_signal(signal.SIGCONT)

    try:
        async with asyncio.timeout(10):
            while not await _listens(port):
                pass
        yield port, stopped
    finally:
        spawned.kill()
        await spawned.wait()


async def _listens(port):
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    await asyncio.sleep(0.02)
    return False


async def _answer(connection):
    response = await connection.response()
    return response.status, response.get("Retry-After")


async def test_what_waited_in_a_socket_is_not_sent_on(gateway, process):
    port, stopped = process
    async with gateway.connect(port) as known:
        await known.send(gateway.bytes("POST", TOKEN, body=b"grant_type=x"))
        assert (await known.response()).status == 200
        before = len(gateway.auth.requests)
        with stopped():
            await known.send(gateway.bytes("POST", TOKEN, body=b"grant_type=x"))
            async with gateway.connect(port) as unknown:
                await unknown.send(gateway.bytes("GET", ME, GOOD))
                await asyncio.sleep(1)
        assert await _answer(known) == (503, "1")
    assert len(gateway.auth.requests) == before


async def test_a_request_whose_body_comes_after_is_not_sent_on(gateway, process):
    port, stopped = process
    async with gateway.connect(port) as connection:
        await connection.send(gateway.bytes("POST", TOKEN, ("Expect", "100-continue"), ("Content-Length", "4")))
        assert (await connection.head()).status == 100
        with stopped():
            await connection.send(b"pe=x")
            await asyncio.sleep(1)
        assert await _answer(connection) == (503, "1")
    assert gateway.nothing_sent()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_what_comes_together_with_its_client_s_end_is_not_sent_on(gateway, process, method):
    """As after a short network outage, which is not long enough to be treated as a suspension."""
    port, stopped = process
    async with gateway.connect(port) as other, gateway.connect(port) as connection:
        await other.send(gateway.bytes("GET", TOKEN))
        assert (await other.response()).status == 200  # now there is an idle connection to the upstream
        before = len(gateway.auth.requests)
        with stopped():
            await connection.send(gateway.bytes(method, TOKEN, body=b"grant_type=x" if method == "POST" else b""))
            connection.close()
            await asyncio.sleep(0.3)
        await other.send(gateway.bytes("GET", TOKEN))
        assert (await other.response()).status == 200
    assert [message.method for message in gateway.auth.requests[before:]] == ["GET"]


async def test_a_verdict_of_before_lets_nobody_in(gateway, process):
    port, stopped = process
    asked, answer = asyncio.Event(), asyncio.Event()
    allow = gateway.auth.verdict

    async def hold(message, reader, writer):
        asked.set()
        await answer.wait()
        await allow(message, reader, writer)

    gateway.auth.verdict = hold
    async with gateway.connect(port) as connection:
        await connection.send(gateway.bytes("GET", ME, GOOD))
        await asked.wait()
        with stopped():
            answer.set()
            await asyncio.sleep(1)
        assert (await connection.response()).status == 503
    assert gateway.users.requests == []


async def test_soon_after_everything_is_sent_on_again(gateway, process):
    port, stopped = process
    with stopped():
        await asyncio.sleep(1)
    async with asyncio.timeout(3), gateway.connect(port) as connection:
        while True:
            await connection.send(gateway.bytes("GET", ME, GOOD))
            if (await connection.response()).status == 200:
                break
