"""A Unix socket between auth-service and PostgreSQL that can be cut: the database is away, then there again."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

SOCKET = ".s.PGSQL.5432"


class Relay:
    def __init__(self, database_url: str, directory: Path) -> None:
        url = urlsplit(database_url)
        self._behind = Path(parse_qs(url.query)["host"][0]) / SOCKET
        self._socket = directory / SOCKET
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.database_url = f"postgresql://postgres@{url.path}?host={quote(str(directory))}"

    async def restore(self) -> None:
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

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(str(self._behind))
        self._writers |= {writer, behind_writer}
        await asyncio.gather(_copy(reader, behind_writer), _copy(behind_reader, writer))
        self._writers -= {writer, behind_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def relaying(database_url: str) -> AsyncIterator[Relay]:
    with tempfile.TemporaryDirectory(prefix="parley-relay-") as directory:  # pytest's own path is too long for a socket
        relay = Relay(database_url, Path(directory))
        await relay.restore()
        try:
            yield relay
        finally:
            await relay.cut()
