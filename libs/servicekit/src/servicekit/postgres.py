"""A PostgreSQL pool that never waits for ever; its failures are the statement's fault or `unavailable`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import structlog

log = structlog.get_logger()

ACQUIRE_TIMEOUT = 2.0
STATEMENT_TIMEOUT = 3.0
CONNECT_TIMEOUT = 3.0

_UNAVAILABLE = (
    OSError,  # TimeoutError is one
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
)


class Database:
    """A pool of connections. Failures that are not the statement's leave as the `unavailable` class it was given."""

    def __init__(self, pool: Any, unavailable: type[Exception], clock: "_Clock") -> None:
        self._pool = pool
        self._unavailable = unavailable
        self._clock = clock

    def now(self) -> float:
        """The database's clock in epoch seconds, estimated from its last answer: no statement is sent."""
        return self._clock.ahead + time.monotonic()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One connection; waits two seconds for it at the most."""
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
                yield connection
        except _UNAVAILABLE as error:
            raise self._unavailable("the database cannot be reached") from error

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

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Run a statement; returns PostgreSQL's command tag, such as `DELETE 3`."""
        async with self.connection() as connection:
            tag: str = await connection.execute(statement, *arguments)
            return tag

    async def reachable(self) -> bool:
        """Whether a trivial statement succeeds now."""
        try:
            await self.fetchrow("SELECT 1")
        except self._unavailable:
            return False
        return True


class _Clock:
    """PostgreSQL's clock. `ahead` is how far it was ahead of this process's monotonic clock when last measured."""

    ahead = 0.0

    async def measure(self, connection: Any) -> None:
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        self.ahead = now - time.monotonic()


async def _keep_state(_connection: Any) -> None:
    """Nothing to reset: no statement here leaves state on a connection, and asyncpg's own reset is a round trip."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Leave the process with one line for what no waiting helps against; it never quotes the URL or its password."""
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

    `dsn` is a `postgresql://` URL. A server that does not answer is waited for, without `wait` raises `unavailable`.
    Raises SystemExit when the server refuses the role or the database.
    """
    clock = _Clock()
    while True:
        try:
            with refusals():
                pool = await _open_pool(dsn, pool_size, clock)
            break
        except _UNAVAILABLE as error:
            if not wait:
                raise unavailable("the database cannot be reached") from error
            log.warning("waiting for the database", cause=type(error).__name__)
            await asyncio.sleep(0.5)
    try:
        yield Database(pool, unavailable, clock)
    finally:
        try:
            await asyncio.wait_for(pool.close(), 5)
        except (TimeoutError, *_UNAVAILABLE):
            pool.terminate()


async def _open_pool(dsn: str, pool_size: int, clock: _Clock) -> Any:
    """A pool that has reached the server: one that has not at first is closed for good, and is not tried again."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=pool_size,
        timeout=CONNECT_TIMEOUT,
        command_timeout=STATEMENT_TIMEOUT + 1,
        max_inactive_connection_lifetime=300,
        init=clock.measure,
        reset=_keep_state,
        server_settings={"statement_timeout": str(int(STATEMENT_TIMEOUT * 1000)), "timezone": "UTC"},
    )
