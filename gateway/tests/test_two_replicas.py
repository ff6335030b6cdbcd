"""An upstream of two replicas: what one loses is tried at the other where that does no harm, and nowhere else."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from backend import Backend
from gateway.app import DataPath
from gateway.clients import relay
from gateway.settings import Settings
from wire import PATIENCE, Connection, Message, request_bytes, until

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
KEYS = "/.well-known/jwks.json"  # not repeatable, whatever the method
SAFE, UNSAFE = ("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "PATCH", "DELETE")
HOSTS = ("127.0.0.1", "127.0.0.2")


@dataclass
class Name:
    """A name with two addresses, as long as it is known."""

    known: bool

    async def resolve(self, _host: str, port: int) -> list[tuple[str, int]]:
        if not self.known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(host, port) for host in HOSTS]


class Pair:
    """A gateway in front of one name with two addresses."""

    def __init__(self, data_path: DataPath, backends: list[Backend], name: Name) -> None:
        self.data_path = data_path
        self.backends = backends
        self.name = name

    @property
    def received(self) -> list[Message]:
        return [message for backend in self.backends for message in backend.requests]

    async def arrives(self) -> None:
        """Wait for one more request than there was."""
        before = len(self.received)
        await until(lambda: len(self.received) > before)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.data_path.port)
        with contextlib.closing(Connection(reader, writer)) as connection:
            yield connection

    async def request(self, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Message:
        headers = (*headers, ("Authorization", "Bearer good"))
        async with self.connect() as connection:
            await connection.send(request_bytes(method, target, *headers, body=body))
            return await connection.response(bodiless=method == "HEAD")

    def counter(self, name: str) -> int:
        return self.data_path.status()["counters"][name]


@pytest.fixture
async def start_pair():
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, known=True, **settings):
            backends = [Backend(), Backend()]
            port = 0
            for host, backend in zip(HOSTS, backends, strict=True):
                server = await asyncio.start_server(backend.serve, host, port)
                stack.callback(server.close)
                port = server.sockets[0].getsockname()[1]

            name = Name(known=known)

            url = f"http://upstream.test:{port}"
            chosen = {"verdict_lifetime": 0, **settings}
            data_path = DataPath(
                Settings(port=0, auth_url=url, users_url=url, access_log=0, **chosen), resolve=name.resolve
            )
            stack.push_async_callback(data_path.close)
            await data_path.start()
            return Pair(data_path, backends, name)

        yield start


@pytest.fixture
async def pair(start_pair):
    return await start_pair()


async def dropping(message, reader, _writer):
    await message.read_body(reader)
    raise ConnectionResetError


async def silent(_message, reader, _writer):
    await reader.read()


@pytest.mark.parametrize("method", SAFE)
async def test_a_safe_request_is_tried_at_the_other(pair, method):
    pair.backends[0].script = dropping
    answers = [await pair.request(method, TOKEN) for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert len(pair.backends[1].requests) == 4
    assert pair.counter("retries") == len(pair.backends[0].requests)


@pytest.mark.parametrize("method", UNSAFE)
async def test_one_that_may_have_been_done_is_not(pair, method):
    for backend in pair.backends:
        backend.script = dropping
    answer = await pair.request(method, KEYS)
    assert (answer.status, answer.get("Retry-After")) == (502, "0")
    assert len(pair.received) == 1


@pytest.mark.parametrize("method", SAFE)
async def test_it_is_tried_twice_at_the_most(pair, method):
    for backend in pair.backends:
        backend.script = dropping
    assert (await pair.request(method, TOKEN)).status == 502
    assert [len(backend.requests) for backend in pair.backends] == [1, 1]


async def test_an_answer_that_has_begun_is_not_asked_for_again(pair):
    async def breaking(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        raise ConnectionResetError

    for backend in pair.backends:
        backend.script = breaking
    with pytest.raises(asyncio.IncompleteReadError):
        await pair.request("GET", TOKEN)
    assert len(pair.received) == 1


async def _keep_connections(pair):
    """Have a connection to each replica that is idle."""
    both, requests = asyncio.Event(), []

    async def meeting(message, reader, writer):
        await message.read_body(reader)
        requests.append(message)
        if len(requests) == 2:
            both.set()
        await both.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    for backend in pair.backends:
        backend.script = meeting
    await asyncio.gather(*(pair.request("GET", TOKEN) for _ in range(2)))
    assert [backend.connections for backend in pair.backends] == [1, 1]


@pytest.mark.parametrize("method", SAFE + UNSAFE)
async def test_a_kept_connection_that_closes_as_it_is_used(pair, method):
    await _keep_connections(pair)
    for backend in pair.backends:
        backend.script = dropping
    assert (await pair.request(method, KEYS)).status == 502
    assert [backend.connections for backend in pair.backends] == [1, 1], "it was not the kept one"
    assert len(pair.received) == 2 + (2 if method in SAFE else 1)


@pytest.mark.parametrize("framing", [("Content-Length", "10"), ("Transfer-Encoding", "chunked")])
@pytest.mark.parametrize("method", [*UNSAFE, "OPTIONS"])
async def test_a_body_that_was_read_is_not_sent_again(pair, method, framing):
    for backend in pair.backends:
        backend.script = dropping
    body = b"0123456789" if framing[1] == "10" else b"a\r\n0123456789\r\n0\r\n\r\n"
    async with pair.connect() as connection:
        await connection.send(request_bytes(method, KEYS, framing) + body)
        assert (await connection.response()).status == 502
    assert [message.body for message in pair.received] == [b"0123456789"]


async def test_retries_are_bounded(pair):
    for backend in pair.backends:
        backend.script = dropping
    for _ in range(100):
        assert (await pair.request("GET", TOKEN)).status == 502
    assert 10 <= pair.counter("retries") <= 10 + 0.2 * 200 + 1
    assert len(pair.received) == 100 + pair.counter("retries")


async def test_a_question_for_a_verdict_is_tried_at_the_other(pair):
    pair.backends[0].verdict = dropping
    assert [(await pair.request("GET", ME)).status for _ in range(6)] == [200] * 6


async def test_a_question_that_one_does_not_answer_is_put_to_the_other(pair):
    pair.backends[0].verdict = silent
    answers = await asyncio.gather(*(pair.request("GET", ME) for _ in range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert pair.backends[0].questions


async def test_nor_is_it_tried_more_than_twice(pair):
    for backend in pair.backends:
        backend.verdict = dropping
    assert (await pair.request("GET", ME)).status == 503
    assert [len(backend.questions) for backend in pair.backends] == [1, 1]


REPEATABLE = [
    TOKEN,
    "/oauth2/token",
    "/oauth/revoke",
    "/oauth/introspect",
    "/api/oauth/access-token/v1/",
    "/api/oauth/157/verify-token/v1/",
]


@pytest.mark.parametrize("target", REPEATABLE)
@pytest.mark.parametrize("fault", [dropping, silent])
async def test_one_that_may_be_executed_twice_is_sent_whole_to_the_other(start_pair, target, fault):
    pair = await start_pair(stall_timeout=0.2)
    pair.backends[0].script = pair.backends[0].health = fault
    body = bytes(range(256)) * 256  # 64 KiB
    answers = await asyncio.gather(*(pair.request("POST", target, body=body) for _ in range(6)))
    assert [answer.status for answer in answers] == [200] * 6
    assert pair.backends[0].requests
    assert [message.body for message in pair.backends[1].requests] == [body] * 6
    assert pair.counter("retries") == len(pair.backends[0].requests)


async def test_a_chunked_body_is_sent_again_as_it_was_framed(pair):
    pair.backends[0].script = dropping
    async with asyncio.timeout(PATIENCE):
        while not pair.backends[0].requests:  # which of the two gets a request is left to chance
            async with pair.connect() as connection:
                await connection.send(request_bytes("POST", TOKEN, ("Transfer-Encoding", "chunked")) + b"3\r\nabc\r\n")
                await connection.send(b"2\r\nde\r\n0\r\n\r\n")
                assert (await connection.response()).status == 200
    assert {message.body for message in pair.backends[1].requests} == {b"abcde"}


async def test_a_connection_that_was_forgotten_holds_up_no_token_request(pair, monkeypatch):
    """The replica is alive and answers new connections; only what is sent on the old one reaches nobody."""
    monkeypatch.setattr(relay, "LONGEST_SILENCE", 1.2)
    for backend in pair.backends:
        backend.script = silent
    asked = asyncio.create_task(pair.request("POST", TOKEN, body=b"grant_type=x"))
    await pair.arrives()
    for backend in pair.backends:
        backend.answers(200, b"answer")
    started = asyncio.get_running_loop().time()
    assert (await asked).status == 200
    assert asyncio.get_running_loop().time() - started < 2
    assert pair.counter("retries") == 1


async def test_where_nobody_else_can_be_asked_a_slow_answer_is_waited_for(gateway, monkeypatch):
    monkeypatch.setattr(relay, "LONGEST_SILENCE", 0.3)
    answer = asyncio.Event()

    async def slow(message, reader, writer):
        await message.read_body(reader)
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    gateway.auth.script = slow
    asked = asyncio.create_task(gateway.request("POST", TOKEN, body=b"grant_type=x"))
    await gateway.auth.arrival()
    await asyncio.wait([asked], timeout=1)
    answer.set()
    assert (await asked).status == 200
    assert len(gateway.auth.requests) == 1


async def test_a_body_larger_than_any_token_request_is_refused_by_one_replica_alone(pair):
    async def breaking(_message, _reader, _writer):
        raise ConnectionResetError

    for backend in pair.backends:
        backend.script = breaking
    assert (await pair.request("POST", TOKEN, body=bytes(64 * 1024 + 1))).status == 502
    assert len(pair.received) == 1


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/v1/users"),
        ("PATCH", "/api/v1/users/157"),
        ("POST", "/api/v1/users/157/password"),
        ("DELETE", "/api/v1/sessions"),
    ],
)
async def test_one_that_may_have_been_executed_is_answered_as_soon_as_its_replica_hangs(start_pair, method, target):
    pair = await start_pair(stall_timeout=0.2)
    for backend in pair.backends:
        backend.script = silent
    pair.backends[0].health = silent
    requests = [asyncio.create_task(pair.request(method, target, body=b"{}")) for _ in range(6)]
    await until(lambda: len(pair.received) == 6)
    held = len(pair.backends[0].requests)
    assert 0 < held < 6
    async with asyncio.timeout(2):
        while sum(request.done() for request in requests) < held:
            await asyncio.wait([request for request in requests if not request.done()], return_when="FIRST_COMPLETED")
    answers = [request.result() for request in requests if request.done()]
    assert [(answer.status, answer.get("Retry-After")) for answer in answers] == [(504, "1")] * held
    assert len(pair.received) == 6, "nothing was sent again"
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


async def test_a_replica_that_waits_for_somebody_else_is_waited_for(start_pair):
    pair = await start_pair(stall_timeout=0.1)
    answer = asyncio.Event()

    async def waiting(message, reader, writer):
        await message.read_body(reader)
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    for backend in pair.backends:
        backend.script = waiting
    requests = [asyncio.create_task(pair.request("POST", TOKEN, body=b"{}")) for _ in range(6)]
    await asyncio.wait(requests, timeout=1.5)  # silent for seven times as long as it takes to be left out
    answer.set()
    assert [(await request).status for request in requests] == [200] * 6
    assert len(pair.received) == 6
    assert not any(entry["ejected"] for entry in pair.data_path.status()["upstreams"]["auth"]["replicas"])


@pytest.mark.parametrize("method", SAFE)
async def test_a_replica_that_hangs_is_left_out_and_its_safe_requests_answered(start_pair, method):
    pair = await start_pair(stall_timeout=0.3)
    pair.backends[0].script = pair.backends[0].health = silent
    answers = await asyncio.gather(*(pair.request(method, TOKEN) for _ in range(6)))
    assert {answer.status for answer in answers} == {200}
    replicas = pair.data_path.status()["upstreams"]["auth"]["replicas"]
    assert [replica["ejected"] for replica in replicas] == [True, False]
    asked = len(pair.backends[0].requests)
    assert asked > 0
    assert [(await pair.request(method, TOKEN)).status for _ in range(6)] == [200] * 6
    assert len(pair.backends[0].requests) == asked


async def test_fast_failures_attract_nothing(pair):
    pair.backends[0].answers(500, b"fast")
    statuses = [(await pair.request("GET", TOKEN)).status for _ in range(60)]
    assert statuses.count(500) == 5
    assert statuses[-20:] == [200] * 20


async def test_fast_failures_to_verify_attract_nothing(pair):
    pair.backends[0].judges(500)
    statuses = [(await pair.request("GET", ME)).status for _ in range(60)]
    assert statuses.count(503) == 5
    assert statuses[-20:] == [200] * 20


# Who it is that answers at an address is a matter for TLS, which checks the name; in clear there is nothing to check.
async def test_the_last_good_addresses_are_kept(start_pair):
    pair = await start_pair(dns_interval=0.02)
    pair.name.known = False
    with capture_logs() as lines:
        await until(lambda: sum(line["event"] == "name not resolved" for line in lines) == 3)
    assert [(await pair.request("GET", ME)).status for _ in range(6)] == [200] * 6


async def test_a_name_that_is_unknown_at_the_start_lets_nobody_in_until_it_is_known(start_pair):
    pair = await start_pair(known=False, dns_interval=0.02)
    answer = await pair.request("GET", ME)
    assert (answer.status, answer.get("WWW-Authenticate")) == (503, None)
    assert (await pair.request("POST", TOKEN)).status == 503
    pair.name.known = True
    await until(lambda: len(pair.data_path.status()["upstreams"]["verification"]["replicas"]) == 2)
    assert (await pair.request("GET", ME)).status == 200


async def test_an_honest_503_is_no_failure(pair):
    for backend in pair.backends:
        backend.answers(503, b"", ("Retry-After", "7"))
    for _ in range(20):
        answer = await pair.request("GET", TOKEN)
        assert (answer.status, answer.get("Retry-After")) == (503, "7")
    assert not any(entry["ejected"] for entry in pair.data_path.status()["upstreams"]["auth"]["replicas"])
