"""PostgreSQL that restarts, is locked, has no connections left, accepts no writes, or fails over to its replica."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from fault import NOTHING, UNAVAILABLE, Fault, Inject
from hops import address
from replicas import Stack
from standby import failing_over, with_standby

TABLES = {
    "auth": ("clients", "sessions", "access_tokens", "user_epochs", "global_epoch", "signing_keys"),
    "users": ("users", "outbox", "epoch_base"),
}
# The services' connections, not this suite's.
_BACKENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('auth', 'users')"


@contextlib.asynccontextmanager
async def restarted(stack: Stack) -> AsyncIterator[None]:
    """A clean stop, which ends every connection, and a restart."""
    await stack.postgres.process.stop(3)
    await stack.postgres.start()
    yield


def locked(database: str, table: str) -> Inject:
    """Another transaction holds a lock that blocks every statement on the table."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        async with stack.superuser(database) as connection, connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield

    return inject


@contextlib.asynccontextmanager
async def no_connections_left(stack: Stack) -> AsyncIterator[None]:
    """Others take every connection, and the services lose theirs."""
    async with contextlib.AsyncExitStack() as others, stack.superuser("postgres") as superuser:
        taking = asyncio.create_task(_take_all(others))
        await asyncio.sleep(0.5)
        await superuser.execute(_BACKENDS)
        try:
            yield
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def _take_all(others: contextlib.AsyncExitStack) -> None:
    url = f"postgresql://users@{address('postgres-1')}:5432/users"
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=2)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.01)
        else:
            others.push_async_callback(_close, connection)


async def _close(connection: asyncpg.Connection) -> None:
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.close(timeout=2)


@contextlib.asynccontextmanager
async def read_only(stack: Stack) -> AsyncIterator[None]:
    """Connections opened during the fault are read-only and stay so afterwards, as after a failover."""
    async with stack.superuser("postgres") as superuser:
        for database in TABLES:
            await superuser.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        await superuser.execute(_BACKENDS)
        try:
            yield
        finally:
            for database in TABLES:
                await superuser.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")


@contextlib.asynccontextmanager
async def read_only_server(stack: Stack) -> AsyncIterator[None]:
    """Every connection becomes read-only until the end."""
    async with stack.superuser("postgres") as superuser:
        await superuser.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await superuser.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            await superuser.execute("SET default_transaction_read_only = off")
            await superuser.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await superuser.execute("SELECT pg_reload_conf()")


@contextlib.asynccontextmanager
async def filled(directory: Path) -> AsyncIterator[None]:
    """Fill the file system of a directory."""
    ballast = directory / "ballast"
    await asyncio.to_thread(_fill, ballast)
    try:
        yield
    finally:
        await asyncio.to_thread(ballast.unlink)


def _fill(ballast: Path) -> None:
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
            file.flush()


@contextlib.asynccontextmanager
async def disk_full(stack: Stack) -> AsyncIterator[None]:
    """PostgreSQL's disk is full. If it has stopped, it is restarted once there is room."""
    async with filled(stack.data.root):
        yield
    if not stack.postgres.process.runs:
        await stack.postgres.start()


@contextlib.asynccontextmanager
async def log_disk_full(stack: Stack) -> AsyncIterator[None]:
    """The disk for all logs is full."""
    async with filled(stack.data.logs):
        yield


def _lock_rows() -> list[Fault]:
    """Statements time out before the lock is released."""
    return [
        Fault(
            f"{table}-locked",
            locked(database, table),
            10,
            UNAVAILABLE,
            over=3.0,
            longest=10.0,
            spares=("refresh",) if database == "users" else (),
        )
        for database, tables in TABLES.items()
        for table in tables
    ]


FAULTS = [
    Fault("postgres-restarted", restarted, 1, UNAVAILABLE, over=3.0, longest=10.0),
    *_lock_rows(),
    Fault("postgres-without-connections", no_connections_left, 6, UNAVAILABLE, over=3.0, longest=5.0),
    Fault("postgres-read-only", read_only, 4, UNAVAILABLE, over=2.0, longest=5.0),
    Fault("postgres-server-read-only", read_only_server, 4, UNAVAILABLE, over=2.0, longest=5.0),
    Fault("postgres-disk-full", disk_full, 8, UNAVAILABLE, over=5.0, longest=5.0),
    Fault("log-disk-full", log_disk_full, 5, NOTHING, over=0.0, longest=2.0),
    Fault(
        "postgres-failover",
        failing_over,
        1,
        UNAVAILABLE,
        over=5.0,
        longest=10.0,
        prepared=with_standby,
    ),
]
