"""The pool of connections to an upstream, against small servers on 127.0.0.1, .2 and .3, one port for all."""

import asyncio
import contextlib
import math
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from gateway import deadlines
from gateway.deadlines import Deadlines
from gateway.messages.parser import ResponseHead
from gateway.upstreams import pool, replicas
from gateway.upstreams.connection import UpstreamConnection
from gateway.upstreams.pool import Upstream
from gateway.upstreams.replicas import Replica

REQUEST = b"GET / HTTP/1.1\r\nHost: replicas.test\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
CLOSING_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
LOOK = 0.02
FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


async def until(condition: Callable[[], Any], patience: float = 3.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - nothing tells of what is seen from outside
            await asyncio.sleep(0.002)


class Peer(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.received = b""
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.peers.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.server.requests += data.count(b"\r\n\r\n")
        if self.server.answer:
            self.transport.write(self.server.answer)

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True


class Server:
    """A replica. It answers every request with `answer`, if there is one."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.requests = 0
        self.answer = ANSWER
        self.listener: asyncio.Server | None = None

    async def start(self, host: str, port: int, **how: Any) -> None:
        self.listener = await asyncio.get_running_loop().create_server(lambda: Peer(self), host, port, **how)

    def stop(self) -> None:
        if self.listener is not None:
            self.listener.close()
        for peer in self.peers:
            peer.transport.abort()

    @property
    def open(self) -> list[Peer]:
        return [peer for peer in self.peers if not peer.closed]


class Names:
    """What the name server says: these addresses, or this error."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.hosts: list[str] = []
        self.error: Exception | None = None
        self.asked = 0

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        assert (host, port) == ("replicas.test", self.port)
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [(address, port) for address in self.hosts]

    async def ask(self) -> None:
        """Until a question that comes after this one was answered."""
        asked = self.asked
        await until(lambda: self.asked > asked + 1)


class Client:
    """A user that asks once and keeps its connection until it is told to release it."""

    def __init__(self, upstream: Upstream, *, safe: bool = True) -> None:
        self.upstream = upstream
        self.retriable = safe
        self.connection: UpstreamConnection | None = None
        self.status = 0
        self.body = b""
        self.ended = False
        self.lost = ""
        self.refused: str | None = None
        self.flow: list[str] = []

    @property
    def awaiting(self) -> bool:
        return self.connection is not None and not self.status

    @property
    def replica(self) -> Replica:
        assert self.connection is not None
        return self.connection.replica

    @property
    def host(self) -> str:
        return self.replica.address[0]

    def ask(self, avoid: Replica | None = None) -> "Client":
        self.upstream.acquire(self, avoid)
        return self

    def on_connection(self, connection: UpstreamConnection) -> None:
        assert self.connection is None
        self.connection = connection
        connection.expects(b"GET")
        connection.write(REQUEST)

    def on_no_connection(self, late: bool) -> None:
        assert self.refused is None
        self.refused = "late" if late else "none"

    def on_head(self, head: ResponseHead) -> None:
        self.status = head.status

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_end(self) -> None:
        self.ended = True

    def on_lost(self, fault: str) -> None:
        self.lost = fault

    def on_congested(self) -> None:
        self.flow.append("congested")

    def on_drained(self) -> None:
        self.flow.append("drained")

    @property
    def settled(self) -> bool:
        return self.ended or bool(self.lost) or self.refused is not None

    def release(self) -> None:
        assert self.connection is not None
        self.upstream.release(self.connection)


def free_port() -> int:
    """One that is free on all three addresses."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            port = 0
            for host in (FIRST, SECOND, THIRD):
                bound = stack.enter_context(socket.socket())
                bound.bind((host, port))
                port = bound.getsockname()[1]
            return port


class Stage:
    """Servers, the name they go by, and a pool for it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.names = Names(self.port)
        self.servers: dict[str, Server] = {}
        self.upstream: Upstream
        self._stack = contextlib.AsyncExitStack()

    async def serve(self, *hosts: str, **how: Any) -> list[Server]:
        for host in hosts:
            server = self.servers[host] = Server()
            await server.start(host, self.port, **how)
            self._stack.callback(server.stop)
        return [self.servers[host] for host in hosts]

    async def open(self, *hosts: str, scheme: str = "http", host: str = "replicas.test", **settings: Any) -> Upstream:
        """A pool for the name, which has these addresses."""
        self.names.hosts = list(hosts)
        looking = Deadlines()
        looking.start(asyncio.get_running_loop())
        self._stack.callback(looking.stop)
        given = {"connections": 100, "connect_timeout": 1.0, "dns_interval": 0.03, "stall_timeout": 60.0, **settings}
        self.upstream = Upstream(
            f"{scheme}://{host}:{self.port}", deadlines=looking, resolve=self.names.resolve, **given
        )
        self._stack.push_async_callback(self.upstream.close)
        await self.upstream.start()
        return self.upstream

    async def close(self) -> None:
        await self._stack.aclose()

    def client(self, *, safe: bool = True) -> Client:
        return Client(self.upstream, safe=safe)

    async def clients(self, number: int) -> list[Client]:
        """So many at once, who have their connections and keep them."""
        clients = [self.client().ask() for _ in range(number)]
        await until(lambda: all(client.connection or client.refused for client in clients))
        return clients

    async def answered(self, avoid: Replica | None = None) -> Client:
        """One that has its answer, and still its connection."""
        client = self.client().ask(avoid)
        await until(lambda: client.settled)
        return client

    async def through(self, number: int = 1) -> list[Client]:
        """So many, one after the other, each of which releases its connection."""
        clients = []
        for _ in range(number):
            client = await self.answered()
            if client.connection is not None:
                client.release()
            clients.append(client)
        return clients

    async def replica(self, host: str) -> Replica:
        """The one with this address."""
        for _ in range(100):
            (client,) = await self.through()
            if client.host == host:
                return client.replica
        raise AssertionError

    async def looks(self, number: int) -> None:
        """Until the pool has looked after itself so many times more."""
        for _ in range(number):
            last = self.upstream._replicas.now
            await until(lambda last=last: self.upstream._replicas.now != last)

    def ejected(self) -> list[str]:
        listed: Any = self.upstream.status()["replicas"]
        return [entry["address"].removesuffix(f":{self.port}") for entry in listed if entry["ejected"]]

    def count(self, name: str) -> int:
        """How many are `in_flight`, or `idle`."""
        listed: Any = self.upstream.status()["replicas"]
        return sum(entry[name] for entry in listed)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.close()


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same choices in every run, and looks that do not have to be waited for."""
    random.seed(7)
    monkeypatch.setattr(deadlines, "INTERVAL", LOOK)


@pytest.fixture
def swallowing(stage: Stage) -> Iterator[Callable[[str], None]]:
    """Call with an address that lets every connection wait from then on."""
    sockets: list[socket.socket] = []

    def start(host: str) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, stage.port))
        listener.listen(0)
        sockets.append(listener)
        for _ in range(3):  # more than it takes to fill the queue
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex((host, stage.port))
            sockets.append(waiting)

    yield start
    for each in sockets:
        each.close()


# What a connection is worth


async def test_the_connection_used_last_is_used_first(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    one, two = await stage.clients(2)
    await until(lambda: one.ended and two.ended)
    two.release()
    one.release()
    again = await stage.answered()
    assert again.connection is one.connection
    assert (await stage.answered()).connection is two.connection
    assert len(server.peers) == 2


async def test_an_idle_connection_is_given_at_once(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    client = stage.client().ask()
    assert client.connection is not None


async def test_small_writes_do_not_wait(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    assert client.connection is not None
    sock = client.connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_connection_that_closes_while_idle_leaves_at_once(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    assert stage.count("idle") == 1
    server.peers[0].transport.close()
    await until(lambda: stage.count("idle") == 0)
    assert stage.upstream.status()["connections"] == 0
    (client,) = await stage.through()
    assert client.ended


async def test_what_nobody_asked_for_ends_an_idle_connection(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    server.peers[0].transport.write(ANSWER)
    await until(lambda: server.peers[0].closed)
    assert stage.count("idle") == 0


async def test_a_connection_that_was_idle_for_long_is_closed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE", 4 * LOOK)
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    await stage.looks(1)
    assert len(server.open) == 1
    await until(lambda: not server.open)
    assert stage.upstream.status()["connections"] == 0


async def test_a_connection_of_age_is_closed_when_it_is_released(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AGE", (2 * LOOK, 2 * LOOK))
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    await stage.looks(3)
    assert len(server.open) == 1
    client.release()
    await until(lambda: not server.open)
    (again,) = await stage.through()
    assert again.connection is not client.connection


async def test_a_connection_serves_so_many_requests_and_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "REQUESTS", 3)
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through(7)
    assert [peer.received.count(b"GET") for peer in server.peers] == [3, 3, 1]
    await until(lambda: len(server.open) == 1)


# What an answer makes of it


@pytest.mark.parametrize(
    "answer",
    [CLOSING_ANSWER, ANSWER.replace(b"1.1", b"1.0"), ANSWER + b"!", ANSWER + ANSWER],
    ids=["close", "1.0", "more", "twice"],
)
async def test_a_whole_answer_after_which_the_connection_is_not_kept(stage: Stage, answer: bytes) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = answer
    await stage.open(FIRST)
    one, two = await stage.through(2)
    assert (one.ended, one.body, one.lost) == (True, b"OK", "")
    assert (two.ended, two.body, two.lost) == (True, b"OK", "")
    assert len(server.peers) == 2
    await until(lambda: not server.open)


async def test_an_answer_that_ends_with_its_connection(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b"HTTP/1.1 200 OK\r\n\r\nwhat"
    await stage.open(FIRST)
    client = stage.client().ask()
    await until(lambda: client.body == b"what")
    server.peers[0].transport.write(b"ever")
    server.peers[0].transport.close()
    await until(lambda: client.settled)
    assert (client.ended, client.body, client.lost) == (True, b"whatever", "")
    client.release()
    assert stage.upstream.status()["connections"] == 0


async def test_an_answer_cut_short(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = ANSWER[:-1]
    await stage.open(FIRST)
    client = stage.client().ask()
    await until(lambda: client.body == b"O")
    server.peers[0].transport.close()
    await until(lambda: client.settled)
    assert (client.ended, client.lost) == (False, "closed")
    assert stage.upstream.status()["connections"] == 0
    assert stage.count("in_flight") == 0


@pytest.mark.parametrize("answer", [b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 101 On\r\nUpgrade: websocket\r\n\r\n"])
async def test_a_malformed_answer(stage: Stage, answer: bytes) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = answer
    await stage.open(FIRST)
    client = await stage.answered()
    assert (client.ended, client.lost) == (False, "malformed")
    await until(lambda: not server.open)


async def test_who_aborts_hears_no_more(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = ANSWER[:-1]
    await stage.open(FIRST)
    client = stage.client().ask()
    await until(lambda: client.body)
    assert client.connection is not None
    client.connection.abort()
    assert stage.upstream.status()["connections"] == stage.count("in_flight") == 0
    client.release()
    await until(lambda: not server.open)
    assert not client.settled
    assert stage.count("in_flight") == 0


async def test_who_aborts_at_the_head_hears_nothing_of_the_body(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    monkeypatch.setattr(Client, "on_head", lambda client, _head: client.connection.abort())
    client = stage.client().ask()
    await until(lambda: server.peers and server.peers[0].closed)
    asyncio.get_running_loop().set_exception_handler(None)
    assert (client.body, client.settled, errors) == (b"", False, [])


async def test_who_aborts_after_the_answer_ends_the_connection(stage: Stage) -> None:
    """As one does whose own body is not written whole yet: what came next would be taken for the rest of it."""
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    assert client.connection is not None
    client.connection.abort()
    assert stage.count("idle") == 0
    await until(lambda: not server.open)


async def test_a_connection_released_before_its_answer_is_not_kept(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    client.release()
    assert stage.count("idle") == 0
    await until(lambda: server.peers and not server.open)


async def test_a_connection_that_is_still_congested_is_not_kept(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    await until(lambda: server.requests)
    server.peers[0].transport.pause_reading()
    assert client.connection is not None
    client.connection.write(bytes(16 * 1024 * 1024))
    server.peers[0].transport.write(ANSWER)
    await until(lambda: client.ended)
    client.release()
    assert stage.count("idle") == 0


async def test_reading_pauses_and_goes_on(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    assert client.connection is not None
    await until(lambda: server.requests)
    client.connection.pause()
    server.peers[0].transport.write(ANSWER)
    await stage.looks(1)
    assert client.status == 0
    client.connection.resume()
    await until(lambda: client.ended)


async def test_a_connection_released_while_it_does_not_read_reads_again(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    assert client.connection is not None
    client.connection.pause()
    client.release()
    assert (await stage.answered()).connection is client.connection


async def test_a_replica_that_reads_slowly(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    await until(lambda: server.requests)
    server.peers[0].transport.pause_reading()
    assert client.connection is not None
    client.connection.write(bytes(16 * 1024 * 1024))
    assert client.flow == ["congested"]
    server.peers[0].transport.resume_reading()
    await until(lambda: client.flow == ["congested", "drained"])


async def test_one_that_says_no_more_and_reads_no_more(stage: Stage) -> None:
    """What is still to be written to it would keep its connection open for ever."""
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    await until(lambda: server.requests)
    server.peers[0].transport.pause_reading()
    assert client.connection is not None
    client.connection.write(bytes(16 * 1024 * 1024))
    server.peers[0].transport.write_eof()
    await until(lambda: client.settled)
    assert client.lost == "closed"
    assert client.connection.closing


# Names


async def test_a_new_address_is_used_as_soon_as_it_is_known(stage: Stage) -> None:
    one, two = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST)
    await stage.through(20)
    assert (one.requests, two.requests) == (20, 0)
    stage.names.hosts = [SECOND, FIRST]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    await stage.through(100)
    assert 35 <= two.requests <= 65


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), ValueError("odd"), None])
async def test_the_last_good_answer_is_kept(stage: Stage, error: Exception | None) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    with capture_logs() as lines:
        stage.names.hosts, stage.names.error = [], error
        await stage.names.ask()
        await stage.names.ask()
        assert (await stage.answered()).host == FIRST
        stage.names.hosts, stage.names.error = [FIRST], None
        await stage.names.ask()
    assert [line["event"] for line in lines] == ["name not resolved", "name resolved again"]


async def test_a_name_that_is_known_only_later(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open()
    assert stage.client().ask().refused == "none"
    stage.names.hosts = [FIRST]
    await stage.names.ask()
    assert (await stage.answered()).ended


async def test_a_name_server_that_does_not_answer_holds_up_nothing(stage: Stage) -> None:
    await stage.serve(FIRST)
    never = asyncio.Event()

    async def hang(_host: str, _port: int) -> list[tuple[str, int]]:
        await never.wait()
        return []

    stage.names.resolve = hang  # type: ignore[method-assign]
    async with asyncio.timeout(1):
        await stage.open()


async def test_a_literal_address_is_not_asked_for(stage: Stage) -> None:
    await stage.serve(SECOND)
    await stage.open(host=SECOND)
    assert (await stage.answered()).host == SECOND
    assert stage.names.asked == 0


async def test_the_system_is_asked_for_a_name(stage: Stage) -> None:
    await stage.serve("localhost")
    stage.names.resolve = pool.ask_system  # type: ignore[method-assign]
    await stage.open(host="localhost")
    assert (await stage.answered()).ended


async def test_an_address_that_is_gone(stage: Stage) -> None:
    one, _ = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST)
    busy, idle = await stage.clients(2)
    one.answer = b""
    late = stage.client().ask()
    await until(lambda: busy.ended and idle.ended and one.requests == 3)
    idle.release()
    stage.names.hosts = [SECOND]
    await until(lambda: len(one.open) == 2)  # the idle one is closed
    assert {client.host for client in await stage.through(10)} == {SECOND}
    one.peers[2].transport.write(ANSWER)
    await until(lambda: late.ended)  # the busy ones end by themselves
    late.release()
    busy.release()
    await until(lambda: not one.open)
    assert stage.upstream.status()["connections"] == 1


async def test_an_address_that_was_gone_comes_back(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST)
    client = await stage.answered()
    stage.names.hosts = [SECOND]
    await stage.names.ask()
    stage.names.hosts = [FIRST, SECOND]
    await stage.names.ask()
    client.release()
    assert await stage.replica(FIRST) is client.replica


# The choice


async def test_the_less_busy_of_two_is_chosen(stage: Stage) -> None:
    servers = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    for _ in range(10):
        await stage.clients(2)
        await until(lambda: len({len(server.peers) for server in servers}) == 1)


async def test_connections_being_made_count_as_busy(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    hosts = [client.host for client in await stage.clients(20)]
    assert hosts.count(FIRST) == hosts.count(SECOND)


async def test_three_share_what_comes(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND, THIRD)
    await stage.open(FIRST, SECOND, THIRD)
    hosts = [client.host for client in await stage.clients(60)]
    assert all(18 <= hosts.count(host) <= 22 for host in (FIRST, SECOND, THIRD))


async def test_another_one_is_given_where_one_is_to_be_avoided(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    assert {(await stage.answered(avoid=first)).host for _ in range(10)} == {SECOND}


async def test_the_one_to_be_avoided_is_given_where_there_is_no_other(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST, connections=1)
    client = await stage.answered()
    waiting = stage.client().ask(avoid=client.replica)
    client.release()
    await until(lambda: waiting.ended)


def test_the_one_to_be_avoided_is_given_before_one_that_is_ejected() -> None:
    known = replicas.Replicas("replicas.test")
    known.update([(f"127.0.0.{number}", 80) for number in range(1, 5)])
    avoided, tried, *ejected = known.all
    avoided.in_flight = 5
    for replica in ejected:
        known.eject(replica, "failures")
    assert {known.choose_except([tried], avoided) for _ in range(50)} == {avoided}
    assert known.choose_except([tried, avoided], None) in ejected


# Waiting


async def test_at_the_limit_they_wait_in_order(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, connections=2)
    held = await stage.clients(2)
    waiting = [stage.client().ask() for _ in range(3)]
    await until(lambda: all(client.ended for client in held))
    assert not any(client.connection for client in waiting)
    held[1].release()
    assert [client.connection for client in waiting] == [held[1].connection, None, None]
    held[0].release()
    assert [client.connection for client in waiting] == [held[1].connection, held[0].connection, None]
    await until(lambda: waiting[0].ended)
    waiting[0].release()
    await until(lambda: waiting[2].ended)
    assert len(server.peers) == 2


@pytest.mark.parametrize("how", ["lost", "closing", "aborted"])
async def test_for_a_connection_that_ends_another_is_opened_for_who_waits(stage: Stage, how: str) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = {"lost": b"", "closing": CLOSING_ANSWER, "aborted": b""}[how]
    await stage.open(FIRST, connections=1)
    (held,) = await stage.clients(1)
    waiting = stage.client().ask()
    await until(lambda: server.requests and (held.ended or how != "closing"))
    server.answer = ANSWER
    assert held.connection is not None
    if how == "lost":
        server.peers[0].transport.close()
    elif how == "closing":
        held.release()
    else:
        held.connection.abort()
    await until(lambda: held.settled or how == "aborted")
    assert stage.upstream.status()["connections"] == 1, "another one is being made already"
    await until(lambda: waiting.ended)
    assert len(server.peers) == 2


async def test_who_finds_no_place_in_time_is_told(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, connections=1, connect_timeout=0.2)
    held = await stage.answered()
    waiting = stage.client().ask()
    await stage.looks(1)
    assert not waiting.settled
    await until(lambda: waiting.settled)
    assert waiting.refused == "late"
    held.release()
    assert waiting.connection is None
    assert stage.count("idle") == 1
    assert len(server.peers) == 1


async def test_who_waits_no_longer_gets_no_place(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST, connections=1, connect_timeout=0.3)
    held = await stage.answered()
    gone, waiting = stage.client().ask(), stage.client().ask()
    stage.upstream.abandon(gone)
    held.release()
    await until(lambda: waiting.ended)
    await stage.looks(4)
    assert gone.connection is None
    assert not gone.settled


async def test_a_connection_made_for_who_has_left_is_the_next_ones(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, connections=1)
    gone = stage.client().ask()
    stage.upstream.abandon(gone)
    waiting = stage.client().ask()
    assert waiting.connection is None
    await until(lambda: waiting.ended)
    assert gone.connection is None
    assert len(server.peers) == 1


async def test_a_connection_made_for_nobody_is_kept(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    gone = stage.client().ask()
    stage.upstream.abandon(gone)
    await until(lambda: stage.count("idle") == 1)
    assert (await stage.answered()).ended
    assert len(server.peers) == 1


async def test_a_connection_released_serves_who_waits_for_one_being_made(
    stage: Stage, swallowing: Callable[[str], None]
) -> None:
    await stage.serve(FIRST)
    swallowing(SECOND)
    await stage.open(FIRST)
    held = await stage.answered()
    stage.names.hosts = [FIRST, SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    waiting = stage.client().ask(avoid=None)
    assert waiting.connection is None  # the less busy one is that which swallows
    held.release()
    assert waiting.connection is held.connection


async def test_who_waits_gets_no_connection_to_what_is_to_be_avoided(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, connections=1)
    held = await stage.answered()
    stage.names.hosts = [FIRST, SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    picky, waiting = stage.client().ask(avoid=held.replica), stage.client().ask()
    held.release()
    assert picky.connection is None
    assert waiting.connection is held.connection
    await until(lambda: waiting.ended)
    waiting.release()
    await until(lambda: picky.ended)
    assert picky.host == SECOND


async def test_who_waits_gets_no_connection_to_what_is_gone(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, connections=1)
    held = await stage.answered()
    waiting = stage.client().ask()
    stage.names.hosts = [SECOND]
    await stage.names.ask()
    held.release()
    await until(lambda: waiting.ended)
    assert waiting.host == SECOND


async def test_at_the_limit_an_idle_connection_makes_room_for_another_replica(stage: Stage) -> None:
    one, two = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, connections=4)
    clients = await stage.clients(4)
    await until(lambda: all(client.ended for client in clients))
    stage.names.hosts = [FIRST, SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    for client in clients:
        client.release()
    await stage.clients(4)
    await until(lambda: (len(one.open), len(two.open)) == (2, 2))


# Failing to connect


async def test_who_is_refused_by_one_is_sent_to_the_next(stage: Stage) -> None:
    await stage.serve(THIRD)
    await stage.open(FIRST, SECOND, THIRD)
    clients = await stage.clients(12)
    assert {client.host for client in clients} == {THIRD}


async def test_who_is_refused_by_all_is_told(stage: Stage) -> None:
    await stage.open(FIRST, SECOND)
    client = await stage.answered()
    assert client.refused == "none"
    assert stage.upstream.status()["connections"] == stage.upstream.status()["waiting"] == 0


async def test_one_that_lets_connections_wait_leaves_time_for_the_next(
    stage: Stage, swallowing: Callable[[str], None]
) -> None:
    await stage.serve(SECOND)
    swallowing(FIRST)
    await stage.open(FIRST, SECOND)
    started = asyncio.get_running_loop().time()
    clients = await stage.clients(4)
    assert {client.refused or client.host for client in clients} == {SECOND}
    assert 0.5 <= asyncio.get_running_loop().time() - started < 0.9


async def test_who_gets_no_connection_in_time_is_told(stage: Stage, swallowing: Callable[[str], None]) -> None:
    swallowing(FIRST)
    await stage.open(FIRST, connect_timeout=0.2)
    started = asyncio.get_running_loop().time()
    client = await stage.answered()
    assert client.refused == "late"
    assert asyncio.get_running_loop().time() - started < 0.6


async def test_one_that_closes_at_once_is_as_good_as_one_that_refuses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server,) = await stage.serve(FIRST)
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connect_and_lose(*address: Any, **how: Any) -> Any:
        transport, protocol = await connect(*address, **how)
        await until(lambda: server.open)
        server.peers[0].transport.close()
        await until(transport.is_closing)
        return transport, protocol

    monkeypatch.setattr(loop, "create_connection", connect_and_lose)
    await stage.open(FIRST)
    assert (await stage.answered()).refused == "none"
    assert stage.upstream.status()["connections"] == 0


async def test_retries_are_a_share_of_what_was_asked(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    await stage.through(20)
    assert [stage.upstream.may_retry() for _ in range(15)] == [True] * 14 + [False]


async def test_where_there_is_one_replica_nothing_is_tried_again(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    assert not stage.upstream.may_retry()


async def test_what_one_lost_that_is_ejected_or_gone_may_be_tried_again(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    client = await stage.answered(avoid=await stage.replica(SECOND))
    await eject(client.replica)
    assert stage.upstream.may_retry()
    stage.names.hosts = [SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 1)  # type: ignore[arg-type]
    assert stage.upstream.may_retry()


# TLS


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server shows as replicas.test; whoever connects trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "replicas.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("replicas.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_tls_to_who_can_show_the_name(stage: Stage, certificate: ssl.SSLContext) -> None:
    (server,) = await stage.serve(FIRST, ssl=certificate)
    await stage.open(FIRST, scheme="https")
    one, two = await stage.through(2)
    assert (one.body, two.body) == (b"OK", b"OK")
    assert len(server.peers) == 1
    await stage.upstream.close()
    await until(lambda: not server.open)


async def test_no_tls_with_who_cannot(stage: Stage, certificate: ssl.SSLContext) -> None:
    (server,) = await stage.serve(FIRST, ssl=certificate)
    await stage.open(scheme="https", host=FIRST)
    assert (await stage.answered()).refused == "none"
    assert server.requests == 0


async def test_no_tls_with_who_speaks_none(stage: Stage, certificate: ssl.SSLContext) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, scheme="https", connect_timeout=0.2)
    assert (await stage.answered()).refused
    assert server.requests == 0


# Ejection


async def eject(replica: Replica) -> None:
    for _ in range(replicas.FAILURES):
        replica.failed()


async def test_five_failures_in_a_row_eject(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        for _ in range(2):
            for _ in range(4):
                first.failed()
            first.succeeded()
        assert not stage.ejected()
        for _ in range(7):
            first.failed()
    assert stage.ejected() == [FIRST]
    assert [(line["event"], line["address"]) for line in lines] == [("replica ejected", f"{FIRST}:{stage.port}")]
    assert {client.host for client in await stage.through(20)} == {SECOND}
    await until(lambda: not stage.servers[FIRST].open)


async def test_refused_connections_eject(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST, SECOND)
    clients = await stage.clients(40)
    assert {client.host for client in clients} == {FIRST}
    assert stage.ejected() == [SECOND]


async def test_never_more_than_half_are_ejected(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND, THIRD)
    await stage.open(FIRST)
    first = await stage.replica(FIRST)
    await eject(first)
    assert stage.ejected() == []
    stage.names.hosts = [FIRST, SECOND, THIRD]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 3)  # type: ignore[arg-type]
    first, second = await stage.replica(FIRST), await stage.replica(SECOND)
    await eject(second)
    await eject(first)
    assert stage.ejected() == [SECOND]


async def test_one_on_trial_still_counts_among_the_ejected(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first, second = await stage.replica(FIRST), await stage.replica(SECOND)
    await eject(first)
    await until(lambda: not stage.ejected())
    await eject(second)
    assert not stage.ejected()


async def test_those_ejected_are_needed_again_when_the_others_are_gone(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    await eject(await stage.replica(FIRST))
    stage.names.hosts = [FIRST]
    await until(lambda: not stage.ejected())
    assert (await stage.answered()).host == FIRST


async def test_one_ejected_is_tried_before_a_request_is_given_up(stage: Stage) -> None:
    _, two = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    await eject(await stage.replica(FIRST))
    two.stop()
    await until(lambda: stage.count("idle") == 0)
    assert (await stage.answered()).host == FIRST
    assert stage.ejected() == [FIRST]


async def test_a_replica_comes_back_slowly(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    monkeypatch.setattr(replicas, "RAMP", math.inf)
    one, _ = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        await eject(first)
        await until(lambda: not stage.ejected())
        clients = await stage.clients(20)
        assert sum(client.host == FIRST for client in clients) == 1
        await until(lambda: all(client.ended for client in clients))
        for client in clients:
            client.release()
        assert lines[-1]["event"] == "replica ejected"
        first.succeeded()
        assert [line["event"] for line in lines] == ["replica ejected", "replica returned"]
    requests = one.requests
    await stage.through(20)
    assert one.requests == requests  # its share is still nothing
    monkeypatch.setattr(replicas, "RAMP", 4 * (stage.upstream._replicas.now - first.since + 0.5))
    assert 0 < await share_of(stage, FIRST) < 0.4
    monkeypatch.setattr(replicas, "RAMP", 0.0)
    await stage.looks(2)
    assert 0.35 < await share_of(stage, FIRST) < 0.65


async def share_of(stage: Stage, host: str) -> float:
    clients = await stage.through(100)
    return sum(client.host == host for client in clients) / len(clients)


async def test_one_that_fails_on_trial_is_out_for_longer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        stage.upstream._replicas.eject_hanging(first)
        await until(lambda: not stage.ejected())
        first.failed()
        assert stage.ejected() == [FIRST]
        await until(lambda: not stage.ejected())
        first.failed()
    assert [line["seconds"] for line in lines] == pytest.approx([0.1, 0.2, 0.3])


async def test_ejections_are_forgotten_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    monkeypatch.setattr(replicas, "RAMP", 0.0)
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        for longest in (replicas.LONGEST_EJECTION, 2 * LOOK):
            await eject(first)
            await until(lambda: not stage.ejected())
            first.succeeded()
            with monkeypatch.context() as patch:
                patch.setattr(replicas, "LONGEST_EJECTION", longest)
                await stage.looks(4)
        await eject(first)
    ejections = [line["seconds"] for line in lines if "seconds" in line]
    assert ejections == pytest.approx([0.1, 0.2, 0.1])


# Silence


async def stalling(stage: Stage, *hosts: str, number: int = 2) -> list[Client]:
    """By turns who may ask again and who may not, all of the first address, which is silent from now on."""
    await stage.serve(*hosts)
    await stage.open(*hosts, stall_timeout=5 * LOOK)
    first = await stage.replica(FIRST)
    others = [replica for replica in stage.upstream._replicas.all if replica is not first]
    stage.servers[FIRST].answer = b""
    clients = [stage.client(safe=turn % 2 == 0) for turn in range(number)]
    for client in clients:
        for other in others:
            other.in_flight += 1000
        client.ask()
        for other in others:
            other.in_flight -= 1000
    await until(lambda: all(client.connection for client in clients))
    assert {client.host for client in clients} == {FIRST}
    return clients


async def test_one_that_hangs_is_ejected_and_safe_requests_are_told(stage: Stage) -> None:
    safe, unsafe, *others = await stalling(stage, FIRST, SECOND, number=4)
    for other in others:
        other.status = 200  # its answer has begun
    await stage.looks(1)
    assert not safe.settled
    await until(lambda: safe.settled)
    assert safe.lost == "stalled"
    assert stage.ejected() == [FIRST]
    await stage.looks(5)
    assert not any(client.settled for client in (unsafe, *others))
    for peer in stage.servers[FIRST].open:
        peer.transport.write(ANSWER)
    await until(lambda: unsafe.ended)


async def test_one_that_hangs_is_not_tried_even_when_no_other_is_left(stage: Stage) -> None:
    safe, _ = await stalling(stage, FIRST, SECOND)
    await until(lambda: safe.settled)
    stage.servers[SECOND].stop()
    await until(lambda: stage.count("idle") == 0)
    assert (await stage.answered()).refused == "none"


async def test_a_single_one_that_hangs_is_waited_for(stage: Stage) -> None:
    safe, unsafe = await stalling(stage, FIRST)
    await stage.looks(7)
    assert not stage.ejected()
    assert not safe.settled
    assert not unsafe.settled


async def test_one_that_hangs_and_is_gone(stage: Stage) -> None:
    safe, unsafe = await stalling(stage, FIRST, SECOND)
    stage.names.hosts = [SECOND]
    await until(lambda: safe.settled)
    assert safe.lost == "stalled"
    assert not unsafe.settled


async def test_one_that_answers_others_does_not_hang(stage: Stage) -> None:
    safe, _ = await stalling(stage, FIRST, SECOND)
    for _ in range(8):
        await stage.looks(1)
        stage.servers[FIRST].peers[-1].transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert not stage.ejected()
    assert not safe.settled


async def test_one_from_whom_no_answer_is_due_does_not_hang(stage: Stage) -> None:
    clients = await stalling(stage, FIRST, SECOND)
    for client in clients:
        client.status = 200  # the answer has begun, or the request is not whole yet
    await stage.looks(8)
    assert not stage.ejected()
    for client in clients:
        client.status = 0
    await stage.looks(1)
    assert not stage.ejected()
    await until(stage.ejected)


# The end


async def test_nothing_is_left_after_the_end(stage: Stage, swallowing: Callable[[str], None]) -> None:
    (server,) = await stage.serve(FIRST)
    before = asyncio.all_tasks()
    await stage.open(FIRST, connections=3, connect_timeout=5)
    await stage.through()
    server.answer = b""
    (busy,) = await stage.clients(1)
    idle = stage.client().ask()
    await until(lambda: server.requests == 3)
    server.peers[1].transport.write(ANSWER)
    await until(lambda: idle.ended)
    idle.release()
    swallowing(SECOND)
    stage.names.hosts = [SECOND]
    await until(lambda: stage.count("in_flight") == 0)
    waiting = [stage.client().ask() for _ in range(3)]
    assert len(asyncio.all_tasks()) > len(before) + 1
    await stage.upstream.close()
    assert asyncio.all_tasks() == before
    assert [client.refused for client in waiting] == ["none"] * 3
    assert busy.lost == "closed"
    assert stage.client().ask().refused == "none"
    await until(lambda: not server.open)
    assert stage.upstream.status()["connections"] == 0
