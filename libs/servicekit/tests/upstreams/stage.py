"""A pool with small servers on 127.0.0.1, .2 and .3, all on one port, and borrowers that record their callbacks."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from servicekit.deadlines import Deadlines
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams import replicas
from servicekit.upstreams.connection import UpstreamConnection
from servicekit.upstreams.pool import Upstream
from servicekit.upstreams.replicas import Replica

PROBE = b"GET /healthz HTTP/1.1\r\nhost: replicas.test:"
REQUEST = b"GET / HTTP/1.1\r\nHost: replicas.test\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
CLOSING_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
LOOK = 0.02
FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


async def until(condition: Callable[[], Any], patience: float = 3.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - nothing signals what is observed from outside
            await asyncio.sleep(0.002)


class Peer(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.received = b""
        self.closed = False
        self.probing = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.peers.append(self)

    def data_received(self, data: bytes) -> None:
        if data.startswith(PROBE):
            self.server.peers.remove(self)
            self.probing = True
            self.server.probes += 1
            self.server.probes_left += 1
            if self.server.lives:
                self.transport.write(ANSWER)
            return
        self.received += data
        self.server.requests += data.count(b"\r\n\r\n")
        if self.server.answer:
            self.transport.write(self.server.answer)

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True
        self.server.probes_left -= self.probing


class Server:
    """A replica. It answers every request with `answer` unless that is empty, and probes as long as it `lives`."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.requests = 0
        self.probes = 0
        self.probes_left = 0  # probes whose connection has not ended
        self.lives = True
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
    """The name server's answer: these addresses, or this error."""

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
        """Wait until a lookup that starts after this call has been answered."""
        asked = self.asked
        await until(lambda: self.asked > asked + 1)


class Client:
    """A borrower that sends one request and keeps its connection until it is told to release it."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
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

    def on_no_connection(self, fault: str) -> None:
        assert self.refused is None
        self.refused = fault

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
    """A port that is free on all three addresses."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            port = 0
            for host in (FIRST, SECOND, THIRD):
                bound = stack.enter_context(socket.socket())
                bound.bind((host, port))
                port = bound.getsockname()[1]
            return port


class Stage:
    """Servers, their name, and a pool for it."""

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
        """Open a pool for the name, which has these addresses."""
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

    def client(self) -> Client:
        return Client(self.upstream)

    async def clients(self, number: int) -> list[Client]:
        """This many concurrent clients, which have their connections and keep them."""
        clients = [self.client().ask() for _ in range(number)]
        await until(lambda: all(client.connection or client.refused for client in clients))
        return clients

    async def answered(self, avoid: Replica | None = None) -> Client:
        """A client that has its answer and still holds its connection."""
        client = self.client().ask(avoid)
        await until(lambda: client.settled)
        return client

    async def through(self, number: int = 1) -> list[Client]:
        """This many clients, one after another, each of which releases its connection."""
        clients = []
        for _ in range(number):
            client = await self.answered()
            if client.connection is not None:
                client.release()
            clients.append(client)
        return clients

    async def replica(self, host: str) -> Replica:
        """The replica with this address."""
        for _ in range(100):
            (client,) = await self.through()
            if client.host == host:
                return client.replica
        raise AssertionError

    async def looks(self, number: int) -> None:
        """Wait until the pool has run this many more periodic checks."""
        for _ in range(number):
            last = self.upstream._replicas.now
            await until(lambda last=last: self.upstream._replicas.now != last)

    def ejected(self) -> list[str]:
        """The addresses of ejected replicas, whether they failed or hang."""
        listed: Any = self.upstream.status()["replicas"]
        return [entry["address"].removesuffix(f":{self.port}") for entry in listed if entry["ejected"]]

    def count(self, name: str) -> int:
        """The number of connections that are `in_flight` or `idle`."""
        listed: Any = self.upstream.status()["replicas"]
        return sum(entry[name] for entry in listed)


async def eject(replica: Replica) -> None:
    for _ in range(replicas.FAILURES):
        replica.failed()
