"""A TCP relay between two processes that behaves like a bad network."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["forth", "back"]
PIECE = 65536
FIRST_TIMEOUT, SEGMENT = 0.2, 1448


@dataclass
class Weather:
    """The relay's present behaviour; by default it forwards everything unchanged.

    `latency` is added in each direction, in seconds. `loss` is the share of segments that must be retransmitted,
    each of which delays what follows, with a timeout that doubles. `stalled` directions hold data back and deliver it
    later, like a network that is cut and heals. With `refusing`, nobody listens; with `swallowing`, connections are
    accepted and nothing is ever forwarded. The next `replies` replies are dropped and both sides reset.
    """

    latency: float = 0.0
    loss: float = 0.0
    stalled: set[Direction] = field(default_factory=set)
    refusing: bool = False
    swallowing: bool = False
    replies: int = 0


class Relay:
    """Listens on `listen` and forwards to `target`, both an address and a port."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self.listen = listen
        self.target = target
        self.weather = Weather()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, *self.listen, reuse_address=True)

    async def stop(self) -> None:
        await self.become(Weather(refusing=True))
        self.reset()

    async def become(self, weather: Weather) -> None:
        """Change the behaviour, for open connections too."""
        self.weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if not weather.refusing:
            await self.start()
        elif self._server is not None:
            self._server.close()
            self._server = None

    def reset(self) -> None:
        """End every open connection with RST."""
        for connection in tuple(self._connections):
            connection.reset()

    def half_close(self) -> None:
        """End every open connection for the callee, without telling the caller."""
        for connection in tuple(self._connections):
            connection.half_close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer)
        self._connections.add(connection)
        try:
            if self.weather.swallowing:
                await self._until(lambda: not self.weather.swallowing)
                connection.reset()
                return
            behind_reader, connection.behind = await asyncio.open_connection(*self.target)
            await asyncio.gather(
                self._copy("forth", reader, connection.behind, connection),
                self._copy("back", behind_reader, writer, connection),
            )
        except OSError:
            connection.reset()
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _copy(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: "_Connection",
    ) -> None:
        while data := await reader.read(PIECE):
            await self._pass(direction, len(data))
            if reader.exception() is not None:  # a sender that resets the connection retransmits nothing
                connection.reset()
                return
            if direction == "back" and self.weather.replies > 0:
                self.weather.replies -= 1
                connection.reset()
                return
            if not connection.half_closed:
                writer.write(data)
                await writer.drain()
        await self._until(lambda: direction not in self.weather.stalled)
        if not connection.half_closed:
            writer.write_eof()

    async def _pass(self, direction: Direction, size: int) -> None:
        """Wait as long as the network would take."""
        delay, wait = self.weather.latency, FIRST_TIMEOUT
        for _ in range(-(-size // SEGMENT)):
            while random.random() < self.weather.loss:
                delay, wait = delay + wait, wait * 2
        if delay:
            await asyncio.sleep(delay)
        await self._until(lambda: direction not in self.weather.stalled and not self.weather.swallowing)

    async def _until(self, check: Callable[[], bool]) -> None:
        while not check():
            await self._changed.wait()


class _Connection:
    def __init__(self, relay: Relay, front: asyncio.StreamWriter) -> None:
        self.front = front
        self.behind: asyncio.StreamWriter | None = None
        self.half_closed = False

    def reset(self) -> None:
        for writer in (self.front, self.behind):
            if writer is not None:
                with contextlib.suppress(OSError):
                    connected: socket.socket = writer.get_extra_info("socket")
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    def half_close(self) -> None:
        self.half_closed = True
        if self.behind is not None:
            self.behind.transport.abort()

    def close(self) -> None:
        if not self.half_closed:
            for writer in (self.front, self.behind):
                if writer is not None:
                    writer.close()
