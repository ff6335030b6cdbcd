"""For tests: a Unix socket between a service and PostgreSQL that can be cut, and ways to delay a statement."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg

SOCKET = ".s.PGSQL.5432"

T = TypeVar("T")


class Relay:
    """Passes on everything between PostgreSQL and a service that connects to `database_url`."""

    def __init__(self, database_url: str, directory: Path) -> None:
        url = urlsplit(database_url)
        self._behind = Path(parse_qs(url.query)["host"][0]) / SOCKET
        self._socket = directory / SOCKET
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._containing = b""
        self._before_holding = 0
        self.holding = asyncio.Event()
        self.database_url = f"postgresql://postgres@{url.path}?host={quote(str(directory))}"

    async def restore(self) -> None:
        self.release()
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._connected, self._socket)

    async def cut(self) -> None:
        """End every connection and accept no new one, like a database that has stopped."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket.unlink()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def forget(self) -> None:
        """Stop passing data on existing connections without ending them, as if a container or a machine were gone."""
        for writer in self._writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        self._writers.clear()

    def hold(self, containing: bytes, after: int = 0) -> None:
        """Hold back statements that contain these bytes until `release`, even if their sender has gone.

        The first `after` of them pass. `holding` is set when one is held back.
        """
        self._containing = containing
        self._before_holding = after
        self._passing.clear()
        self.holding.clear()

    def release(self) -> None:
        self._passing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(str(self._behind))
        self._writers |= {writer, behind_writer}
        await asyncio.gather(self._copy(reader, behind_writer, up=True), self._copy(behind_reader, writer, up=False))
        self._writers -= {writer, behind_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if up and not self._passing.is_set() and self._containing in chunk:
                    await self._pass()
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def _pass(self) -> None:
        if self._before_holding > 0:
            self._before_holding -= 1
            return
        self.holding.set()
        await self._passing.wait()


@contextlib.asynccontextmanager
async def relaying(database_url: str) -> AsyncIterator[Relay]:
    """A relay in front of `database_url` for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="parley-relay-") as directory:  # pytest's own path is too long for a socket
        relay = Relay(database_url, Path(directory))
        await relay.restore()
        try:
            yield relay
        finally:
            await relay.cut()


async def answered_late(relay: Relay, request: Awaitable[T], patience: float, containing: bytes, after: int = 0) -> T:
    """The answer to `request`, one of whose statements waits in the relay until `patience` seconds are over.

    The statement contains the bytes `containing`; the first `after` such statements pass.
    """
    loop = asyncio.get_running_loop()
    relay.hold(containing, after)
    started = loop.time()
    asked = asyncio.ensure_future(request)
    await asyncio.wait_for(relay.holding.wait(), patience)
    await asyncio.sleep(started + patience + 0.1 - loop.time())
    relay.release()
    return await asked


async def answered_after_lock(url: str, lock: str, request: Awaitable[T], patience: float, *arguments: Any) -> T:
    """The answer to `request`, which has to wait for a lock that is released after `patience` seconds.

    `lock` is a statement that is then rolled back, so that nothing has changed when the wait ends.
    """
    loop = asyncio.get_running_loop()
    holder = await asyncpg.connect(url)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(lock, *arguments)
        started = loop.time()
        asked = asyncio.ensure_future(request)
        await asyncio.sleep(started + patience + 0.2 - loop.time())
        await transaction.rollback()
        return await asked
    finally:
        await holder.close()
