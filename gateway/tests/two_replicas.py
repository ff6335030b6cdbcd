"""A gateway in front of an upstream whose name has two addresses."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from backend import Backend
from gateway.app import DataPath
from gateway.settings import Settings
from wire import Connection, Message, request_bytes, until

HOSTS = ("127.0.0.1", "127.0.0.2")


@dataclass
class Name:
    """A name that resolves to two addresses while it is known."""

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
        """Wait for one more request."""
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


@contextlib.asynccontextmanager
async def running_pair(*, known: bool = True, **settings: Any) -> AsyncIterator[Pair]:
    """A pair with these settings of the gateway. The name can be resolved at the start if it is `known`."""
    async with contextlib.AsyncExitStack() as stack:
        backends = [Backend(), Backend()]
        port = 0
        for host, backend in zip(HOSTS, backends, strict=True):
            server = await asyncio.start_server(backend.serve, host, port)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
        name = Name(known=known)
        url = f"http://upstream.test:{port}"
        chosen = {"port": 0, "auth_url": url, "users_url": url, "access_log": 0, "verdict_lifetime": 0, **settings}
        data_path = DataPath(Settings(**chosen), resolve=name.resolve)
        stack.push_async_callback(data_path.close)
        await data_path.start()
        yield Pair(data_path, backends, name)


async def dropping(message, reader, _writer):
    await message.read_body(reader)
    raise ConnectionResetError


async def silent(_message, reader, _writer):
    await reader.read()
