"""A streaming replica of PostgreSQL, known to the services, and its promotion."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from dev.postgres import Postgres
from hops import address
from replicas import Stack, kill

STREAMS_WITHIN = 20.0
_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"


@contextlib.asynccontextmanager
async def with_standby(stack: Stack) -> AsyncIterator[None]:
    """Add a synchronous replica, and give the services both addresses."""
    directory = stack.data.postgres.with_name("standby")
    first = stack.postgres
    await _copy(first, directory)
    standby = Postgres(directory, stack.data.logs / "standby.log", address=address("standby-1"))
    stack.standby = standby
    await standby.start()
    async with stack.superuser("postgres") as connection:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await connection.execute("SELECT pg_reload_conf()")
        await _until_it_streams(connection)
    stack.hops.with_standby = True
    await stack.restart("auth-service", "user-service")
    try:
        yield
    finally:
        stack.hops.with_standby = False
        await _only_one_again(stack, first, standby)


def _make(directory: Path, user: str | None) -> None:
    directory.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(directory, user)


async def _copy(first: Postgres, directory: Path) -> None:
    """Take the base backup that the standby starts from, as the server's user."""
    _make(directory, first.user)
    program = str(first.programs / "pg_basebackup")
    host, name = address("postgres-1"), "application_name=standby"
    process = await asyncio.create_subprocess_exec(
        *(program, "--pgdata", directory, "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"),
        *("--dbname", f"postgresql://postgres@{host}:5432/postgres?{name}"),
        user=first.user,
        env={**os.environ, "LC_ALL": "C"},
        cwd="/",
    )
    assert await process.wait() == 0
    _remove_locks(directory)


def _remove_locks(directory: Path) -> None:
    """Remove the lock files of the first server's socket, which were copied with its data."""
    for lock in directory.glob(".s.PGSQL.*"):
        lock.unlink()


async def _until_it_streams(connection: asyncpg.Connection) -> None:
    deadline = time.monotonic() + STREAMS_WITHIN
    while not await connection.fetchval(_STREAMING):
        assert time.monotonic() < deadline, "the replica does not stream"
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def failing_over(stack: Stack) -> AsyncIterator[None]:
    """The server is killed for good; its replica is promoted."""
    await kill(stack.postgres.process)
    assert stack.standby is not None
    stack.postgres, stack.standby = stack.standby, None
    async with stack.superuser("postgres") as connection:
        assert await connection.fetchval("SELECT pg_promote()")
    yield


async def _only_one_again(stack: Stack, first: Postgres, standby: Postgres) -> None:
    """Keep the data of the server that was written to last as the first server's, and restart the services."""
    last = stack.postgres
    for server in (first, standby):
        await server.process.stop(5)
    stack.standby = None
    if last is standby:
        shutil.rmtree(stack.data.postgres)
        stack.data.postgres.with_name("standby").rename(stack.data.postgres)
    else:
        shutil.rmtree(stack.data.postgres.with_name("standby"))
    stack.postgres = first
    await first.start()
    async with stack.superuser("postgres") as connection:
        await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await connection.execute("SELECT pg_reload_conf()")
    await stack.restart("auth-service", "user-service")
