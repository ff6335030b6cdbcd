"""A Unix socket between a service and PostgreSQL, for tests: it can be cut, and it can hold back what is sent."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

SOCKET = ".s.PGSQL.5432"


class Relay:
    """`database_url` leads through it."""

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
        """End every connection and accept no new one, as a database that has stopped."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket.unlink()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def forget(self) -> None:
        """Pass nothing more on the connections there are, and end none: as when a container or a machine is gone."""
        for writer in self._writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        self._writers.clear()

    def hold(self, containing: bytes, after: int = 0) -> None:
        """Hold back statements with an argument of these bytes until `release`, also when their sender has gone.

        So many of them pass first. `holding` is set when one is held back.
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
    """A relay before `database_url` for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="parley-relay-") as directory:  # pytest's own path is too long for a socket
        relay = Relay(database_url, Path(directory))
        await relay.restore()
        try:
            yield relay
        finally:
            await relay.cut()
