"""The limit on requests in flight to an upstream: one more is refused at once, and each that ends makes room."""

import asyncio
import contextlib
import json

import pytest

from wire import request_bytes, until

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
AUTHORIZATION = ("Authorization", "Bearer good")
OPENING = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
ACCEPTANCE = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = ("Transfer-Encoding", "chunked")
REFUSED = "refused_requests_of_upstream"


class Held:
    """Has an upstream delay its answers until `turn` is set."""

    def __init__(self, backend):
        self.turn = asyncio.Event()
        self._answer = backend.script
        backend.script = self._hold

    async def _hold(self, message, reader, writer):
        await self.turn.wait()
        await self._answer(message, reader, writer)


@contextlib.asynccontextmanager
async def _sent(gateway, number, target=TOKEN, *headers):
    """This many requests, each on its own connection."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect()) for _ in range(number)]
        for connection in connections:
            await connection.send(request_bytes("GET", target, AUTHORIZATION, *headers))
        yield connections


async def _is_refused(gateway, method="GET", target=TOKEN, **how):
    answer = await gateway.request(method, target, **how)
    assert (answer.status, answer.get("Retry-After")) == (503, "1")
    assert answer.json()["error"] == "temporarily_unavailable"
    assert answer.get("Connection") is None


async def test_one_more_than_there_may_be_is_refused_at_once(start_gateway):
    gateway = await start_gateway(upstream_requests=2)
    held = Held(gateway.auth)
    async with _sent(gateway, 2) as connections:
        await gateway.auth.arrival(2)
        await _is_refused(gateway)
        await _is_refused(gateway, "POST", body=b"grant_type=password")
        held.turn.set()
        assert [(await connection.response()).status for connection in connections] == [200, 200]
    assert (await gateway.request("GET", TOKEN)).status == 200
    assert len(gateway.auth.requests) == 3
    assert gateway.counter(REFUSED) == 2
    async with gateway.connect(gateway.ops_port) as connection:
        await connection.send(request_bytes("GET", "/stats"))
        assert (await connection.response()).json()["counters"][REFUSED] == 2


async def test_a_network_that_has_everything_is_told_that_it_has_its_share(start_gateway):
    gateway = await start_gateway(upstream_requests=1, upstream_requests_per_network=1, trusted_proxies="127.0.0.1")
    held = Held(gateway.auth)
    async with _sent(gateway, 1, TOKEN, ("X-Forwarded-For", "192.0.2.1")) as [connection]:
        await gateway.auth.arrival()
        answer = await gateway.request("GET", TOKEN, ("X-Forwarded-For", "192.0.2.1"))
        assert (answer.status, answer.get("Retry-After")) == (429, "1")
        assert (await gateway.request("GET", TOKEN, ("X-Forwarded-For", "192.0.2.2"))).status == 503
        held.turn.set()
        assert (await connection.response()).status == 200
    assert (gateway.counter(REFUSED), gateway.counter("refused_requests_of_network")) == (1, 1)


async def test_of_many_at_once_no_more_arrive(start_gateway):
    gateway = await start_gateway(upstream_requests=3)
    held = Held(gateway.auth)
    async with _sent(gateway, 50) as connections:
        await until(lambda: gateway.counter(REFUSED) == 47)
        held.turn.set()
        statuses = [(await connection.response()).status for connection in connections]
    assert sorted(statuses) == [200] * 3 + [503] * 47
    assert len(gateway.auth.requests) == 3


async def test_who_waits_for_a_connection_is_in_flight_too(start_gateway):
    gateway = await start_gateway(upstream_requests=2, upstream_connections=1, connect_timeout=60)
    held = Held(gateway.auth)
    async with _sent(gateway, 2) as connections:
        await gateway.auth.arrival()
        await until(lambda: _waiting(gateway) == 1)
        await _is_refused(gateway)
        held.turn.set()
        assert [(await connection.response()).status for connection in connections] == [200, 200]
    await _has_places(gateway, 2)


async def test_who_waits_for_a_connection_and_leaves_gives_the_place_back(start_gateway):
    gateway = await start_gateway(upstream_requests=2, upstream_connections=1, connect_timeout=60)
    held = Held(gateway.auth)
    async with _sent(gateway, 1) as [first]:
        await gateway.auth.arrival()
        async with _sent(gateway, 1):
            await until(lambda: _waiting(gateway) == 1)
            await _is_refused(gateway)
        await until(lambda: _waiting(gateway) == 0)
        async with _sent(gateway, 1) as [third]:
            await until(lambda: _waiting(gateway) == 1)
            held.turn.set()
            assert [(await connection.response()).status for connection in (first, third)] == [200, 200]
    await _has_places(gateway, 2)


def _waiting(gateway):
    return gateway.serving.statuses()[0]["upstreams"]["auth"]["waiting"]


async def test_neither_verification_nor_the_other_upstream_is_refused_for_it(start_gateway):
    gateway = await start_gateway(upstream_requests=1)
    Held(gateway.auth)
    async with _sent(gateway, 1):
        await gateway.auth.arrival()
        assert [(await gateway.request("GET", ME)).status for _ in range(3)] == [200] * 3
        await _is_refused(gateway, target="/api/v1/sessions")
    assert len(gateway.auth.questions) == 3, "nobody is asked about a token where there is no place"


async def test_verifications_are_not_counted(start_gateway):
    gateway = await start_gateway(upstream_requests=1)
    judge, turn = gateway.auth.verdict, asyncio.Event()

    async def verdict(*given):
        await turn.wait()
        await judge(*given)

    gateway.auth.verdict = verdict
    held = Held(gateway.users)
    async with _sent(gateway, 5, ME) as connections:
        await until(lambda: len(gateway.auth.questions) == 5)
        assert (await gateway.request("GET", TOKEN)).status == 200
        turn.set()
        await until(lambda: gateway.counter(REFUSED) == 4)
        held.turn.set()
        assert sorted([(await connection.response()).status for connection in connections]) == [200] + [503] * 4
    assert len(gateway.users.requests) == 1


async def _client_leaves(gateway):
    Held(gateway.auth)
    async with _sent(gateway, 1):
        await gateway.auth.arrival()


async def _upstream_breaks_off(gateway):
    async def breaking(_message, _reader, writer):
        writer.transport.abort()

    gateway.auth.script = breaking
    assert (await gateway.request("POST", TOKEN)).status == 502


async def _upstream_breaks_off_in_the_middle(gateway):
    async def breaking(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    gateway.auth.script = breaking
    async with _sent(gateway, 1) as [connection]:
        assert (await connection.rest()).endswith(b"half")


async def _upstream_is_late(gateway):
    Held(gateway.auth)
    assert (await gateway.request("GET", TOKEN)).status == 504


async def _upstream_says_nonsense(gateway):
    gateway.auth.answers(700)
    assert (await gateway.request("GET", TOKEN)).status == 502


async def _body_is_too_large(gateway):
    async def refusing(_message, _reader, writer):
        writer.write(b"HTTP/1.1 413 R\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    gateway.auth.script = refusing
    async with gateway.connect() as connection:
        await connection.send(request_bytes("POST", TOKEN, CHUNKED) + b"10001\r\n" + bytes(65_537))
        assert (await connection.response()).status == 413


async def _body_is_late(gateway):
    async with gateway.connect() as connection:
        await connection.send(request_bytes("POST", TOKEN, CHUNKED) + b"5\r\nhello\r\n")
        assert (await connection.response()).status == 408


ENDS = (
    *(_client_leaves, _upstream_breaks_off, _upstream_breaks_off_in_the_middle, _upstream_is_late),
    *(_upstream_says_nonsense, _body_is_too_large, _body_is_late),
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_every_end_gives_its_place_back_once(start_gateway, end):
    gateway = await start_gateway(upstream_requests=1, read_timeout=0.5, body_timeout=0.3)
    script = gateway.auth.script
    await end(gateway)
    gateway.auth.script = script
    async with asyncio.timeout(5):
        while (await gateway.request("GET", TOKEN)).status != 200:
            pass
    await _has_places(gateway, 1)


async def _has_places(gateway, number):
    """Exactly this many requests are accepted."""
    held, refused = Held(gateway.auth), gateway.counter(REFUSED)
    async with _sent(gateway, number + 1) as connections:
        await until(lambda: gateway.counter(REFUSED) == refused + 1)
        held.turn.set()
        statuses = [(await connection.response()).status for connection in connections]
    assert sorted(statuses) == [200] * number + [503]


async def test_who_cannot_be_reached_holds_no_place(start_gateway):
    gateway = await start_gateway(upstream_requests=1, auth_url="http://127.0.0.1:1")
    details = [(await gateway.request("GET", TOKEN)).json()["detail"] for _ in range(5)]
    assert details == ["the service cannot be reached"] * 5
    assert gateway.counter(REFUSED) == 0


async def test_a_websocket_holds_its_place_until_it_is_open(start_gateway):
    gateway = await start_gateway(upstream_requests=1)
    answer, turn, ended = gateway.users.script, asyncio.Event(), asyncio.Event()

    async def accepting(_message, _reader, writer):
        await turn.wait()
        writer.write(ACCEPTANCE)
        gateway.users.script = answer
        await ended.wait()

    gateway.users.script = accepting
    async with _sent(gateway, 1, ME, *OPENING) as [connection]:
        await gateway.users.arrival()
        await _is_refused(gateway, target=ME)
        turn.set()
        assert (await connection.head()).status == 101
        assert [(await gateway.request("GET", ME)).status for _ in range(3)] == [200] * 3
        ended.set()
    held = Held(gateway.users)
    async with _sent(gateway, 1, ME) as [connection]:
        await gateway.users.arrival(5)
        await _is_refused(gateway, target=ME)
        held.turn.set()
        assert (await connection.response()).status == 200


async def test_who_is_refused_may_ask_again_on_the_same_connection(start_gateway):
    gateway = await start_gateway(upstream_requests=1)
    held = Held(gateway.auth)
    async with _sent(gateway, 1) as [first], gateway.connect() as connection:
        await gateway.auth.arrival()
        for _ in range(3):
            await connection.send(request_bytes("POST", TOKEN, body=b"grant_type=password"))
            assert (await connection.response()).status == 503
        held.turn.set()
        assert (await first.response()).status == 200
        await connection.send(request_bytes("POST", TOKEN, body=b"grant_type=password"))
        assert (await connection.response()).status == 200
    assert gateway.auth.requests[-1].body == b"grant_type=password"


async def test_refusals_are_counted_and_not_logged(start_gateway, capfd):
    gateway = await start_gateway(upstream_requests=1, access_log=1)
    held = Held(gateway.auth)
    async with _sent(gateway, 1, TOKEN, ("X-Request-Id", "first-request")) as [connection]:
        await gateway.auth.arrival()
        for _ in range(20):
            await _is_refused(gateway)
        held.turn.set()
        assert (await connection.response()).status == 200
    await gateway.request("GET", "/nowhere", ("X-Request-Id", "last-request"))
    written = ""
    async with asyncio.timeout(5):
        while "last-request" not in written:
            written += capfd.readouterr().out
            await asyncio.sleep(0.01)
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    logged = [(line["request_id"], line["status"]) for line in lines if line["event"] == "request"]
    assert logged == [("first-request", 200), ("last-request", 404)]
    assert gateway.counter(REFUSED) == 20
