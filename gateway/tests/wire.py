"""HTTP for tests: requests are sent as exact bytes, and messages are read strictly."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 5.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(4 * PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class Message:
    """A request or a response as it was sent; `start` is its first line."""

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
        """Read the body. Raises IncompleteReadError if it is incomplete."""
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
        """The data that arrives until the gateway closes the connection."""
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
