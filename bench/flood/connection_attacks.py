"""Attacks by connections: slow bodies, heads in pieces, silent sockets, WebSockets and their frames."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from bench.flood.arrivals import milliseconds_since
from bench.flood.attack import Aim, Attack
from bench.flood.honest import read_request

LEAST_BETWEEN = 1.0  # seconds between attempts to open one of the connections
FRAMES = b"\x82\x80\0\0\0\0" * 1000  # masked, binary and empty


class Holding(Attack):
    """An attack that holds `number` connections and replaces those that end.

    They are opened over about `spread` seconds; the attack has begun once each was tried.
    """

    number: int
    spread = 1.0

    def __init__(self, aim: Aim) -> None:
        super().__init__(aim)
        self.begun.clear()
        self.held = 0
        self._tried = 0

    def outcomes(self) -> dict[str, list[float]]:
        return {**self.times, **({"held at the end": [0.0] * self.held} if self.held else {})}

    async def run(self) -> None:
        await asyncio.gather(*(self._keep_holding(number) for number in range(self.number)))

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG002
        """Send the attack's data, none here. Returns, or raises EOFError, when the connection has ended."""
        await self.answered(reader)

    async def _keep_holding(self, number: int) -> None:
        await asyncio.sleep(number / self.number * self.spread)
        while True:
            self._count_try()
            started = time.perf_counter()
            try:
                reader, writer = await self.open()
            except (OSError, EOFError):
                self.note("not accepted")
            else:
                await self._hold_one(reader, writer)
            await asyncio.sleep(max(0.0, started + LEAST_BETWEEN - time.perf_counter()))

    def _count_try(self) -> None:
        self._tried += 1
        if self._tried >= self.number:
            self.begun.set()

    async def _hold_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.held += 1
        started = time.perf_counter()
        try:
            await self.hold(reader, writer)
        except (OSError, EOFError):
            self.note("ended", milliseconds_since(started))
        self.held -= 1
        writer.close()

    @contextlib.asynccontextmanager
    async def answering(self, reader: asyncio.StreamReader) -> AsyncIterator[asyncio.Task[None]]:
        """Run the block while waiting for a response or the end of the connection."""
        answer = asyncio.ensure_future(self.answered(reader))
        try:
            yield answer
            await answer
        finally:
            answer.cancel()

    async def answered(self, reader: asyncio.StreamReader) -> None:
        """Wait for a response or the end of the connection, and note it."""
        started = time.perf_counter()
        head = await reader.readuntil(b"\r\n")
        self.note(head[9:12].decode(), milliseconds_since(started))


class SlowBodies(Holding):
    """256 logins that send only their head and one byte of body, then a byte every two seconds"""

    number = 256
    head = (
        b"POST /oauth/token HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.head)
        async with self.answering(reader) as answer:
            while not answer.done():
                await asyncio.wait([answer], timeout=2.0)
                writer.write(b" ")


class SplitHeads(Holding):
    """8 connections that each send an endless head, 1,500 packets of one byte per second"""

    number = 8
    packets = 1500

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\n")
        start = time.perf_counter()
        async with self.answering(reader) as answer:
            for number in range(60 * self.packets):
                if answer.done():
                    break
                if (pause := start + number / self.packets - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                # A continuing line: the length of a single header field is limited.
                writer.write(b"x-a: b\r\n"[number % 8 : number % 8 + 1])


class Silent(Holding):
    """11,000 connections, of which 10,000 are allowed, from 12 addresses of one IPv6 /64; each sends a single byte,
    after eight seconds"""

    number = 11_000
    ipv6 = True
    spread = 4.0

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self.answering(reader) as answer:
            await asyncio.wait([answer], timeout=8.0)
            writer.write(b"G")


class SilentTls(Holding):
    """1,007 sockets that never start their TLS handshake, where 5 per address and 50 in all are allowed and the
    gateway may open 1,024 files"""

    number = 1007
    tls = True
    open_files = 1024
    gateway = (("GATEWAY_CONNECTIONS", "50"), ("GATEWAY_CONNECTIONS_PER_ADDRESS", "5"))

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.aim.host, self.aim.port, local_addr=(next(self._addresses), 0))


class WebSockets(Holding):
    """512 silent WebSockets of one user"""

    number = 512
    web_sockets = True

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open_web_socket(reader, writer)
        await reader.readexactly(1)

    async def open_web_socket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises EOFError if the WebSocket is refused."""
        lines = (
            b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        )
        writer.write(read_request(self.aim.access_token).replace(b"\r\n", lines + b"\r\n", 1))
        started = time.perf_counter()
        head = await reader.readuntil(b"\r\n\r\n")
        self.note(head[9:12].decode(), milliseconds_since(started))
        if head[9:12] != b"101":
            raise EOFError


class EmptyFrames(WebSockets):
    """4 WebSockets of one user that each send 150,000 empty frames per second, 900 KB"""

    number = 4
    frames = 150_000

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open_web_socket(reader, writer)
        while True:
            started = time.perf_counter()
            writer.write(FRAMES)
            await writer.drain()
            self.note("thousand frames", milliseconds_since(started))
            await asyncio.sleep(max(0.0, 1000 / self.frames - (time.perf_counter() - started)))
