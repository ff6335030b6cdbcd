"""A gateway on a free port, two upstreams that record what reaches them, and a client that sends exact bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from backend import Backend
from gateway import ops
from gateway.serving import InProcess
from gateway.settings import Settings
from two_replicas import Pair, running_pair
from wire import Connection, Message, request_bytes


@dataclass
class Gateway:
    """A running gateway and its upstreams."""

    port: int
    ops_port: int
    auth: Backend
    users: Backend
    upstream_ports: dict[str, int]
    serving: InProcess

    @contextlib.asynccontextmanager
    async def connect(self, port: int | None = None, local: str = "127.0.0.1") -> AsyncIterator[Connection]:
        """A connection from this address of the loopback network."""
        opened = await asyncio.open_connection("127.0.0.1", port or self.port, limit=2**20, local_addr=(local, 0))
        connection = Connection(*opened)
        with contextlib.closing(connection):
            yield connection

    async def request(
        self, method: str, target: str, *headers: tuple[str, str], body: bytes = b"", token: str | None = "good"
    ) -> Message:
        """One request on a connection of its own, with a bearer token unless `token` is None."""
        if token is not None:
            headers = (*headers, ("Authorization", f"Bearer {token}"))
        async with self.connect() as connection:
            await connection.send(request_bytes(method, target, *headers, body=body))
            return await connection.response(bodiless=method == "HEAD")

    async def refuses(self, raw: bytes, status: int = 400) -> Message:
        """Send `raw`, alone and with a second request: it is refused, nothing is forwarded, and the connection ends."""
        for following in (request_bytes("GET", "/.well-known/jwks.json"), b""):
            malformed = self.counter("malformed")
            async with self.connect() as connection:
                await connection.send(raw + following)
                message = await connection.response()
                assert message.status == status
                assert message.get("Connection") == "close"
                assert await connection.rest() == b""
            assert self.nothing_sent()
            assert self.counter("malformed") - malformed == 1 or status != 400
        return message

    def counter(self, name: str) -> int:
        """The value of a counter."""
        return int(self.serving.statuses()[0]["counters"][name])

    def nothing_sent(self) -> bool:
        return not self.auth.received and not self.users.received

    bytes = staticmethod(request_bytes)


@contextlib.asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Gateway]:
    auth, users = Backend(), Backend()
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for backend in (auth, users):
            server = await asyncio.start_server(backend.serve, "127.0.0.1", 0, limit=2**20)
            stack.callback(server.close)
            ports.append(server.sockets[0].getsockname()[1])
        urls = {f"{name}_url": f"http://127.0.0.1:{port}" for name, port in zip(("auth", "users"), ports, strict=True)}
        chosen = Settings(**({"port": 0, "ops_port": 0, "verdict_lifetime": 0, "access_log": 0} | urls | settings))
        serving = InProcess(chosen)
        stack.push_async_callback(serving.close)
        await serving.start()
        ops_port = await stack.enter_async_context(ops.listening(serving, chosen))
        yield Gateway(serving.port, ops_port, auth, users, {"AUTH": ports[0], "USERS": ports[1]}, serving)


@pytest.fixture(scope="session")
async def shared_gateway() -> AsyncIterator[Gateway]:
    async with running() as started:
        yield started


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway with default settings, whose upstreams have received nothing yet."""
    shared_gateway.auth.reset()
    shared_gateway.users.reset()
    return shared_gateway


@pytest.fixture
async def start_gateway() -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Call with settings to start a gateway for one test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Gateway:
            return await stack.enter_async_context(running(**settings))

        yield start


@pytest.fixture
async def start_pair() -> AsyncIterator[Callable[..., Awaitable[Pair]]]:
    """Call with settings to start a gateway in front of two replicas."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Pair:
            return await stack.enter_async_context(running_pair(**settings))

        yield start


@pytest.fixture
async def pair(start_pair: Callable[..., Awaitable[Pair]]) -> Pair:
    return await start_pair()
