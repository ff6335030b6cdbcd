"""Slow bodies: other requests do not wait for them, and no network exceeds its share."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from wire import request_bytes, until

KEYS = "/.well-known/jwks.json"
PASSWORD = "/api/v1/users/157/password"
TOKEN = "/oauth/token"
AUTHORIZATION = ("Authorization", "Bearer good")
ELSEWHERE = "127.0.0.9"
KIBIBYTE = 1024
LIMIT = 64 * KIBIBYTE


@contextlib.asynccontextmanager
async def begun(gateway, number, size=100, sent=1, target=TOKEN, local="127.0.0.1"):
    """This many connections, each with a head and the beginning of a body."""
    in_flight = gateway.serving.statuses()[0]["in_flight"]
    head = request_bytes("POST", target, AUTHORIZATION, ("Content-Length", str(size)))
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect(local=local)) for _ in range(number)]
        for connection in connections:
            await connection.send(head + b"x" * sent)
        await until(lambda: gateway.serving.statuses()[0]["in_flight"] == in_flight + number)
        yield connections


async def status_from(gateway, local, raw):
    async with gateway.connect(local=local) as connection:
        await connection.send(raw)
        return (await connection.response()).status


async def test_bodies_that_are_not_whole_take_no_place(gateway):
    """As many slow bodies as requests are allowed, from one address: all clients are served, from that address too."""
    async with begun(gateway, 256, size=2) as connections:
        assert gateway.nothing_sent()
        for _ in range(3):
            assert (await gateway.request("GET", KEYS)).status == 200
            assert (await gateway.request("POST", TOKEN, body=b"grant_type=password")).status == 200
        await connections[0].send(b"y")
        assert (await connections[0].response()).status == 200
    assert gateway.auth.requests[-1].body == b"xy"


async def holding(backend):
    """Have the backend delay its answers until the returned event is set."""
    turn, answer = asyncio.Event(), backend.script

    async def hold(message, reader, writer):
        await turn.wait()
        await answer(message, reader, writer)

    backend.script = hold
    return turn


async def test_a_network_has_a_share_of_the_places(start_gateway):
    gateway = await start_gateway(upstream_requests_per_network=2)
    turn = await holding(gateway.auth)
    async with gateway.connect() as one, gateway.connect() as two, gateway.connect() as more:
        for connection in (one, two):
            await connection.send(request_bytes("POST", TOKEN, body=b"a"))
        await gateway.auth.arrival(2)
        for _ in range(2):
            await more.send(request_bytes("POST", TOKEN, body=b"a"))
            answer = await more.response()
            assert (answer.status, answer.get("Retry-After"), answer.get("Connection")) == (429, "1", None)
            assert answer.json()["error"] == "too_many_requests"
        async with gateway.connect(local=ELSEWHERE) as stranger:
            await stranger.send(request_bytes("GET", KEYS))
            await gateway.auth.arrival(3)
            turn.set()
            assert [(await held.response()).status for held in (one, two, stranger)] == [200] * 3
        await more.send(request_bytes("POST", TOKEN, body=b"a"))
        assert (await more.response()).status == 200
    assert gateway.counter("refused_requests_of_network") == 2
    assert gateway.counter("refused_requests_of_upstream") == 0


WIDE = {
    "IPv4": (["192.0.2.1", "192.0.2.2"], "192.0.2.3", "192.0.3.1"),
    "IPv6": (["2001:db8::1", "2001:db8:0:1::1"], "2001:db8:0:ffff::1", "2001:db8:1::1"),
}


@pytest.mark.parametrize(("held", "near", "far"), WIDE.values(), ids=WIDE)
async def test_a_wide_network_has_two_shares_of_the_places(start_gateway, held, near, far):
    gateway = await start_gateway(upstream_requests_per_network=1, trusted_proxies="127.0.0.1")
    turn = await holding(gateway.auth)
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect()) for _ in range(4)]
        for number, (client, connection) in enumerate(zip([*held, far], connections, strict=False), 1):
            await connection.send(request_bytes("GET", KEYS, ("X-Forwarded-For", client)))
            await gateway.auth.arrival(number)
        await connections[3].send(request_bytes("GET", KEYS, ("X-Forwarded-For", near)))
        assert (await connections[3].response()).status == 429
        turn.set()
        assert [(await connection.response()).status for connection in connections[:3]] == [200] * 3
        await connections[3].send(request_bytes("GET", KEYS, ("X-Forwarded-For", near)))
        assert (await connections[3].response()).status == 200


async def test_a_wide_network_has_two_shares_of_the_bytes_that_are_gathered(start_gateway):
    gateway = await start_gateway(buffered_bytes_per_network=LIMIT)
    head = request_bytes("POST", TOKEN, ("Content-Length", str(LIMIT)))
    async with contextlib.AsyncExitStack() as stack:
        for local in ("127.0.0.1", "127.0.0.2", "127.0.1.1"):
            await stack.enter_async_context(begun(gateway, 1, size=LIMIT, sent=62 * KIBIBYTE, local=local))
        assert await status_from(gateway, "127.0.0.3", head + bytes(5 * KIBIBYTE)) == 429
    assert gateway.counter("refused_bodies_of_network") == 1


@pytest.mark.parametrize(("other", "status"), [("2001:db8::2", 429), ("2001:db8:0:1::1", 200), ("192.0.2.1", 200)])
async def test_behind_a_trusted_proxy_the_network_is_the_clients(start_gateway, other, status):
    gateway = await start_gateway(upstream_requests_per_network=1, trusted_proxies="127.0.0.1")
    turn = await holding(gateway.auth)
    async with gateway.connect() as held, gateway.connect() as tried:
        await held.send(request_bytes("GET", KEYS, ("X-Forwarded-For", "2001:db8::1")))
        await gateway.auth.arrival()
        await tried.send(request_bytes("GET", KEYS, ("X-Forwarded-For", other)))
        if status == 200:
            await gateway.auth.arrival(2)
            turn.set()
        assert (await tried.response()).status == status


async def test_a_network_has_a_share_of_the_bytes_that_are_gathered(start_gateway):
    gateway = await start_gateway(buffered_bytes_per_network=LIMIT)
    head = request_bytes("POST", TOKEN, ("Content-Length", str(LIMIT)))
    async with begun(gateway, 1, size=LIMIT, sent=60 * KIBIBYTE):
        async with gateway.connect() as more:
            await more.send(head + bytes(5 * KIBIBYTE))
            answer = await more.response()
            assert (answer.status, answer.get("Retry-After"), answer.get("Connection")) == (429, "1", "close")
        whole = request_bytes("POST", TOKEN, body=b"a" * 10_000)
        assert await status_from(gateway, "127.0.0.1", whole) == 200
        async with begun(gateway, 1, size=6 * KIBIBYTE, sent=5 * KIBIBYTE, local=ELSEWHERE) as [stranger]:
            await stranger.send(bytes(KIBIBYTE))
            assert (await stranger.response()).status == 200
    assert gateway.counter("refused_bodies_of_network") == 1


async def test_the_bytes_that_are_gathered_are_limited_for_all_networks_together(start_gateway):
    gateway = await start_gateway(buffered_bytes=LIMIT, buffered_bytes_per_network=LIMIT)
    async with begun(gateway, 1, size=LIMIT, sent=60 * KIBIBYTE), gateway.connect(local=ELSEWHERE) as stranger:
        await stranger.send(request_bytes("POST", TOKEN, ("Content-Length", "9999")) + bytes(5 * KIBIBYTE))
        answer = await stranger.response()
        assert (answer.status, answer.get("Retry-After")) == (503, "1")
    assert gateway.counter("refused_bodies") == 1


def unread(gateway, connections):
    """The bytes that the kernel holds for the gateway on each of these connections."""
    ports = {connection.writer.get_extra_info("sockname")[1] for connection in connections}
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        int(queues.partition(":")[2], 16)
        for _, local, remote, _, queues, *_ in sockets
        if int(local.partition(":")[2], 16) == gateway.port and int(remote.partition(":")[2], 16) in ports
    ]


async def test_a_body_is_not_read_before_its_token_is_verified(start_gateway):
    gateway = await start_gateway(buffered_bytes_per_network=LIMIT)
    turn, judge = asyncio.Event(), gateway.auth.verdict

    async def held(message, reader, writer):
        await turn.wait()
        await judge(message, reader, writer)

    gateway.auth.verdict = held
    head = request_bytes("POST", PASSWORD, AUTHORIZATION, ("Content-Length", str(LIMIT)))
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect()) for _ in range(20)]
        for connection in connections:
            await connection.send(head)
        await until(lambda: len(gateway.auth.questions) == 20)
        for connection in connections:
            connection.writer.write(bytes(60_000))
        assert (await gateway.request("GET", KEYS)).status == 200  # so the earlier data could have been read
        assert unread(gateway, connections) == [60_000] * 20
        turn.set()
        await until(lambda: gateway.counter("refused_bodies_of_network") == 19)
        assert [(await connection.response()).status for connection in connections[1:]] == [429] * 19


async def _completed(connection):
    await connection.send(bytes(4 * KIBIBYTE))
    assert (await connection.response()).status == 200


async def _left(connection):
    connection.close()


async def _late(connection):
    assert (await connection.response()).status == 408


@pytest.mark.parametrize("end", [_completed, _left, _late])
async def test_every_end_of_a_body_gives_its_bytes_back(start_gateway, end):
    gateway = await start_gateway(buffered_bytes_per_network=LIMIT, buffered_bytes=LIMIT, body_timeout=1)
    for _ in range(3):
        async with begun(gateway, 1, size=LIMIT, sent=60 * KIBIBYTE) as [connection]:
            await end(connection)
        await until(lambda: gateway.serving.statuses()[0]["in_flight"] == 0)
    assert gateway.counter("refused_bodies_of_network") == 0


async def test_a_part_of_a_body_without_content_leaves_nothing_behind(start_gateway):
    gateway = await start_gateway(trusted_proxies="127.0.0.1")
    head = request_bytes("POST", TOKEN, ("X-Forwarded-For", "192.0.2.1"), ("Transfer-Encoding", "chunked"))
    async with gateway.connect() as connection:
        await connection.send(head)
        await until(lambda: gateway.serving.statuses()[0]["in_flight"] == 1)
        await connection.send(b"1\r\n")
        assert (await gateway.request("GET", KEYS)).status == 200  # so the earlier data was read
        await connection.send(b"x\r\n0\r\n\r\n")
        assert (await connection.response()).status == 200
    assert not gateway.serving._data_path._proxy.buffer._taken


async def test_a_token_that_is_revoked_while_its_body_is_awaited_does_nothing(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0)
    async with begun(gateway, 1, size=2, target=PASSWORD) as [connection]:
        await until(lambda: len(gateway.auth.questions) == 1)
        gateway.auth.judges(401, b"no")
        await asyncio.sleep(1.2)  # a little longer than an uncached verdict is valid
        await connection.send(b"y")
        assert (await connection.response()).status == 401
    assert gateway.users.requests == []


async def test_a_body_that_is_soon_there_is_verified_once(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0)
    async with begun(gateway, 1, size=2, target=PASSWORD) as [connection]:
        await until(lambda: len(gateway.auth.questions) == 1)
        await connection.send(b"y")
        assert (await connection.response()).status == 200
    assert len(gateway.auth.questions) == 1
