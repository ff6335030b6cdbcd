"""An upstream that records the requests it receives, and answers them as scripted."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from wire import PATIENCE, Message, read_head

ALLOW = {
    "active": True,
    "sub": "157",
    "client_id": "demo",
    "scope": "",
    "exp": 4_000_000_000,
    "expires_in": 900,
    "sid": "00000000000000aa",
    "dialect": "rfc6749",
    "token_type": "access_token",
    "internal_token": "internal.token.157",
}


Script = Callable[[Message, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int, body: bytes = b"", *headers: tuple[str, str], framed: bool = True) -> Script:
    """Reads the request, then answers; without a Content-Length if `framed` is false."""

    async def script(message: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await message.read_body(reader)
        length = [("Content-Length", str(len(body)))] if framed else []
        lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in [*headers, *length])]
        writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        writer.write(b"" if message.method == "HEAD" else body)

    return script


def allowing(**changes: object) -> Script:
    """Answers /verify-token with an allow that has these changes; None removes a member."""
    verdict = {name: value for name, value in {**ALLOW, **changes}.items() if value is not None}
    return answering(200, json.dumps(verdict).encode(), ("Content-Type", "application/json"))


class Backend:
    """An upstream. `script` answers a request after its head; `verdict` one for /verify-token, `health` a probe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.received: list[Message] = []
        self.connections = 0
        self.script = answering(200, b"answer", ("Content-Type", "text/plain"))
        self.verdict = allowing()
        self.health = answering(200)
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
        """The request with this number, once it has arrived."""
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
                if message.target == "/healthz":
                    await self.health(message, reader, writer)
                    continue
                self.received.append(message)
                self._arrival.set()
                await (self.verdict if message.target == "/verify-token" else self.script)(message, reader, writer)
        if message is not None:
            message.gone.set()
        writer.close()
