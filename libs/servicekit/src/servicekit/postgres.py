"""A PostgreSQL pool that never waits forever; a failure is either the statement's fault or `unavailable`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import structlog

from servicekit import postgres_hosts
from servicekit.callers import NobodyWaitsError
from servicekit.database_clock import LATE, LONGEST_DELAY, STATEMENT_TIMEOUT, ClockedConnection

log = structlog.get_logger()

ACQUIRE_TIMEOUT = 2.0
CONNECT_TIMEOUT = 3.0
# Seconds. A process that hangs in the middle of a transaction must not keep its locks.
IDLE_TRANSACTION_TIMEOUT = 1.0
# Seconds of clock skew between this machine and the database before the operator is warned.
LARGEST_CLOCK_DIFFERENCE = 15.0

_UNAVAILABLE = (
    OSError,  # TimeoutError is one
    NobodyWaitsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresSystemError,
)
# A connection does not recover from these errors, nor do the others to the same server. A cancelled statement (57014)
# is an operator's intervention, too, but leaves its connection usable.
_UNUSABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


class Database:
    """A pool of connections. Failures that are not the statement's fault are raised as the given `unavailable` class.

    A statement that writes goes through `write` or `write_row`, which add the deadline as its last parameter, a
    `float8`. It must not change anything unless `before_deadline($n)` is true: see `servicekit.database_clock`.
    """

    def __init__(self, pool: Any, unavailable: type[Exception]) -> None:
        self._pool = pool
        self._unavailable = unavailable
        self._server = ""
        self._measured_after = float("-inf")
        self._ahead = 0.0

    def now(self) -> float:
        """The time by the database's clock in epoch seconds, based on the last measurement; it costs no round trip."""
        return self._ahead + time.monotonic()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One connection of the pool; waits at most two seconds for it."""
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
                try:
                    if connection.needs_measuring(self._measured_after):
                        await self._measure(connection)
                    yield connection
                except _UNUSABLE:
                    connection.terminate()
                    await self._pool.expire_connections()
                    raise
        except _UNAVAILABLE as error:
            raise self._unavailable(_cause(error)) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate != LATE:
                raise
            self._measured_after = time.monotonic()  # the statement was late, or the database's clock was set
            raise self._unavailable(_cause(error)) from error

    async def _measure(self, connection: Any) -> None:
        """Ask the server for its clock. If it is another server, or was restarted, all connections are replaced."""
        await connection.measure()
        self._ahead = connection.ahead
        if connection.server != self._server:
            if self._server:
                await self._pool.expire_connections()
            self._server = connection.server

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """One connection with a READ COMMITTED transaction open."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows

    async def write_row(self, statement: str, *arguments: Any) -> Any:
        """Run a statement that writes, with the deadline as its last parameter; returns its first row or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *arguments, connection.deadline())

    async def write(self, statement: str, *arguments: Any) -> int:
        """Run a statement that writes, with the deadline as its last parameter; returns the number of changed rows."""
        async with self.connection() as connection:
            tag = await connection.execute(statement, *arguments, connection.deadline())
            return int(tag.rpartition(" ")[2])

    async def faults(self) -> list[str]:
        """The reasons why the database cannot serve us now, in words for an operator."""
        try:
            async with self.connection() as connection:
                if not await connection.fetchval("SELECT current_setting('transaction_read_only')::boolean"):
                    return []
                connection.terminate()  # it would remain read-only even when the database no longer is
                await self._pool.expire_connections()
        except self._unavailable as error:
            return [str(error)]
        return ["the database cannot be written to"]

    def warnings(self) -> list[str]:
        """The reasons why an operator should look at the database although it serves us."""
        difference = abs(self.now() - time.time())
        if difference <= LARGEST_CLOCK_DIFFERENCE:
            return []
        return [f"this machine's clock and the database's differ by {difference:.0f} s"]


def _cause(error: Exception) -> str:
    """The cause in words, with the SQLSTATE if PostgreSQL gave one."""
    if isinstance(error, NobodyWaitsError):
        return "the caller no longer waits"
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None:
        return f"the database cannot be reached ({type(error).__name__})"
    return f"the database refuses (SQLSTATE {sqlstate}, {type(error).__name__})"


async def _keep_state(_connection: Any) -> None:
    """Reset nothing: no statement here leaves state on a connection, and asyncpg's own reset costs a round trip."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Exit with one line on errors that waiting does not cure; it never quotes the URL or its password."""
    try:
        yield
    except asyncpg.ClientConfigurationError:
        raise SystemExit("the database's URL cannot be used") from None
    except _UNAVAILABLE:
        raise
    except ValueError:
        raise SystemExit("the database's URL cannot be used") from None
    except asyncpg.PostgresError as error:
        raise SystemExit(f"the database refuses the connection: {error}") from None


@contextlib.asynccontextmanager
async def connect(
    dsn: str, *, pool_size: int, unavailable: type[Exception], wait: bool = True
) -> AsyncIterator[Database]:
    """A `Database` for as long as the context lasts.

    `dsn` is a `postgresql://` URL, with several hosts if there are several servers: see `postgres_hosts`. If the server
    does not answer, waits for it, or without `wait` raises `unavailable`. Raises SystemExit if the server refuses the
    role or the database.
    """
    while True:
        try:
            with refusals():
                pool = await _open_pool(dsn, pool_size)
            database = Database(pool, unavailable)
            async with database.connection():
                break  # its clock is known now
        except (*_UNAVAILABLE, unavailable) as error:
            if not wait:
                raise unavailable("the database cannot be reached") from error
            log.warning("waiting for the database", cause=type(error).__name__)
            await asyncio.sleep(0.5)
    try:
        yield database
    finally:
        try:
            await asyncio.wait_for(pool.close(), 5)
        except (TimeoutError, *_UNAVAILABLE):
            pool.terminate()


async def _open_pool(dsn: str, pool_size: int) -> Any:
    """A pool that has reached the server; a pool that could not at first is closed for good, so open a new one."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=pool_size,
        connect=postgres_hosts.connect,
        connection_class=ClockedConnection,
        timeout=CONNECT_TIMEOUT,
        command_timeout=STATEMENT_TIMEOUT + 1,
        max_inactive_connection_lifetime=300,
        reset=_keep_state,
        server_settings={
            "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
            "lock_timeout": _milliseconds(LONGEST_DELAY),
            "idle_in_transaction_session_timeout": _milliseconds(IDLE_TRANSACTION_TIMEOUT),
            "timezone": "UTC",
        },
    )


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
