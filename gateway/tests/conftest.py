"""A gateway on a free port, two upstreams that record what reaches them, and a client that sends exact bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway import ops
from gateway.serving import InProcess
from gateway.settings import Settings

PATIENCE = 5.0
ALLOW = {
    "active": True,
    "sub": "157",
    "client_id": "demo",
    "scope": "",
    "exp": 4_000_000_000,
    "sid": "00000000000000aa",
    "dialect": "rfc6749",
    "token_type": "access_token",
    "internal_token": "internal.token.157",
}


@dataclass
class Message:
    """A request or a response as it stood on the wire; `start` is its first line."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} is given {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    async def read_body(self, reader: asyncio.StreamReader, *, until_eof: bool = False) -> None:
        """Read the body. Raises IncompleteReadError when it is cut short."""
        if "transfer-encoding" in self.names:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                self.body += (await reader.readexactly(size + 2))[:-2]
            assert await reader.readuntil(b"\r\n") == b"\r\n", "a trailer"
        elif (length := self.get("Content-Length")) is not None:
            self.body += await reader.readexactly(int(length))
        elif until_eof:
            self.body += await reader.read()
        self.complete = True


async def read_head(reader: asyncio.StreamReader) -> Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape").split("\r\n")
    return Message(
        lines[0], [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:-2])]
    )


Script = Callable[[Message, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int, body: bytes = b"", *headers: tuple[str, str], framed: bool = True) -> Script:
    """Reads the request, then answers; without a Content-Length where `framed` is false."""

    async def script(message: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await message.read_body(reader)
        length = [("Content-Length", str(len(body)))] if framed else []
        lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in [*headers, *length])]
        writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        writer.write(b"" if message.method == "HEAD" else body)

    return script


def allowing(**changes: object) -> Script:
    """Answers /verify-token with an allow, or with something like it; a change to None leaves a member out."""
    verdict = {name: value for name, value in {**ALLOW, **changes}.items() if value is not None}
    return answering(200, json.dumps(verdict).encode(), ("Content-Type", "application/json"))


class Backend:
    """An upstream. `script` answers a request after its head; `verdict` one for /verify-token."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.received: list[Message] = []
        self.connections = 0
        self.script = answering(200, b"answer", ("Content-Type", "text/plain"))
        self.verdict = allowing()
        self._arrival = asyncio.Event()

    def answers(self, *answer: Any, **framed: bool) -> None:
        self.script = answering(*answer, **framed)

    def judges(self, *answer: Any, **framed: bool) -> None:
        self.verdict = answering(*answer, **framed)

    def allows(self, **changes: object) -> None:
        self.verdict = allowing(**changes)

    @property
    def requests(self) -> list[Message]:
        return [message for message in self.received if message.target != "/verify-token"]

    @property
    def questions(self) -> list[Message]:
        return [message for message in self.received if message.target == "/verify-token"]

    async def arrival(self, number: int = 1) -> Message:
        """The request with this number, as soon as it is there."""
        async with asyncio.timeout(PATIENCE):
            while len(self.requests) < number:
                await self._arrival.wait()
                self._arrival.clear()
        return self.requests[number - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        message = None
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                message = await read_head(reader)
                self.received.append(message)
                self._arrival.set()
                await (self.verdict if message.target == "/verify-token" else self.script)(message, reader, writer)
        if message is not None:
            message.gone.set()
        writer.close()


class Connection:
    """A client's connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def head(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await read_head(self.reader)

    async def response(self, *, bodiless: bool = False) -> Message:
        message = await self.head()
        async with asyncio.timeout(PATIENCE):
            if bodiless or message.status in (204, 304):
                message.complete = True
            else:
                await message.read_body(self.reader, until_eof=True)
        return message

    async def rest(self) -> bytes:
        """What comes until the gateway closes the connection."""
        received = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while chunk := await self.reader.read(65536):
                    received += chunk
        return received

    def close(self) -> None:
        self.writer.close()


def request_bytes(method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: api.example", *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


@dataclass
class Gateway:
    """A running gateway and what stands behind it."""

    port: int
    ops_port: int
    auth: Backend
    users: Backend
    upstream_ports: dict[str, int]
    serving: InProcess

    @contextlib.asynccontextmanager
    async def connect(self, port: int | None = None) -> AsyncIterator[Connection]:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port or self.port, limit=2**20))
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
        """Send `raw`, alone and with a second request: it is refused, the connection ends, no upstream hears of it."""
        for following in (request_bytes("GET", "/.well-known/jwks.json"), b""):
            async with self.connect() as connection:
                await connection.send(raw + following)
                message = await connection.response()
                assert message.status == status
                assert message.get("Connection") == "close"
                assert await connection.rest() == b""
            assert self.nothing_sent()
        return message

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
    """A gateway with default settings, whose upstreams have heard nothing yet."""
    shared_gateway.auth.reset()
    shared_gateway.users.reset()
    return shared_gateway


@pytest.fixture
async def start_gateway() -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Call with settings to get a gateway of one's own."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Gateway:
            return await stack.enter_async_context(running(**settings))

        yield start
