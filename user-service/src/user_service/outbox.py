"""The outbox: events about users, each kept until auth-service acknowledges it.

PostgreSQL's notifications wake all requests that wait for an event or an acknowledgement, in every replica.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import structlog

from servicekit.http import ServiceUnavailableError
from servicekit.pauses import pause
from servicekit.postgres import Database

log = structlog.get_logger()

Beat = Callable[[], Awaitable[None]]

BATCH = 100
# Seconds after which a waiting request looks again: a notification can be lost with the connection that listens.
LOOK_AGAIN = 1.0
BEAT = 0.3
LISTEN_AGAIN = 0.25
PENDING_ENDS = "SELECT FROM outbox WHERE user_id = $1 AND type = 'sessions_ended' LIMIT 1"


class UnconfirmedError(ServiceUnavailableError):
    """The change is made, but auth-service has not yet ended the user's sessions; the client may repeat the request."""

    logged = False


class _Bell:
    """Wakes all that wait for its next ring. Once it is `closed`, nobody waits for another one."""

    def __init__(self) -> None:
        self.closed = False
        self.next_ring = asyncio.Event()

    def ring(self, *_notification: object) -> None:
        rung, self.next_ring = self.next_ring, asyncio.Event()
        rung.set()


class Outbox:
    """Events that wait for auth-service; any number of replicas may read and acknowledge them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._added = _Bell()
        self._acknowledged = _Bell()

    async def pending(self, wait: float, beat: Beat | None = None) -> list[dict[str, Any]]:
        """The oldest events, at most 100; if there is none, waits up to `wait` seconds for one.

        `beat` is called every 0.3 s while this waits for an event, but not while it waits for the database.
        """
        events: list[dict[str, Any]] = await self._poll(self._pending_now, self._added, wait, beat)
        return events

    async def acknowledge(self, ids: list[int]) -> None:
        """Delete the events with these ids."""
        # Events that another replica is deleting are skipped: it may have frozen meanwhile and keep them locked.
        await self._database.write(
            """
            DELETE FROM outbox
            WHERE id IN (SELECT id FROM outbox WHERE id = ANY($1::bigint[]) FOR UPDATE SKIP LOCKED)
                AND before_deadline($2)
            """,
            ids,
        )

    async def wait_sessions_ended(self, user_id: int, wait: float = 2.0) -> None:
        """Wait until auth-service has ended the user's sessions. Raises UnconfirmedError after `wait` seconds."""

        async def gone() -> bool:
            try:
                return await self._database.fetchrow(PENDING_ENDS, user_id) is None
            except ServiceUnavailableError:
                return False  # the database may come back in time, and then the bell rings

        if not await self._poll(gone, self._acknowledged, wait):
            log.warning("sessions not ended in time", user_id=user_id)
            raise UnconfirmedError

    def close(self) -> None:
        """Answer all requests that wait for events now, because the process is about to stop."""
        self._added.closed = True
        self._added.ring()

    async def _poll(
        self, look: Callable[[], Awaitable[Any]], bell: _Bell, wait: float, beat: Beat | None = None
    ) -> Any:
        """The result of `look` as soon as it finds something, or after `wait` seconds, or once the bell is closed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            next_ring = bell.next_ring  # taken before looking, so that no ring is missed in between
            found = await look()
            remaining = deadline - loop.time()
            if found or remaining <= 0 or bell.closed:
                return found
            await _until_rung(next_ring, loop.time() + min(remaining, LOOK_AGAIN), beat)

    async def _pending_now(self) -> list[dict[str, Any]]:
        rows = await self._database.fetch(
            """
            SELECT id, type, user_id, epoch + base AS epoch, keep_session, email FROM outbox, epoch_base
            ORDER BY id LIMIT $1
            """,
            BATCH,
        )
        return [dict(row) for row in rows]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen for the database's notifications as long as the context lasts; takes one connection of the pool."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            self.close()
            task.cancel()
            await asyncio.wait((task,))

    async def _listen(self) -> None:
        while not self._added.closed:
            try:
                async with self._database.connection() as connection:
                    await self._hear(connection)
            except (ServiceUnavailableError, asyncpg.PostgresError) as error:
                log.warning("outbox listener lost its connection", cause=type(error).__name__)
            await pause(LISTEN_AGAIN)

    async def _hear(self, connection: Any) -> None:
        bells = {"outbox_added": self._added, "outbox_acknowledged": self._acknowledged}
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        try:
            for channel, bell in bells.items():
                await connection.add_listener(channel, bell.ring)
                bell.ring()  # for events that were committed while nobody listened
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN):
                        await lost.wait()
                await connection.execute("SELECT 1")  # a connection lost silently is noticed only when it is used
        finally:
            connection.terminate()  # it returns to the pool closed, because its next user must not listen


async def _until_rung(ring: asyncio.Event, end: float, beat: Beat | None) -> None:
    """Wait for the ring until `end` (in `loop.time()`), and call `beat` repeatedly meanwhile."""
    loop = asyncio.get_running_loop()
    while not ring.is_set() and (left := end - loop.time()) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left, BEAT) if beat is not None else left):
                await ring.wait()
        if beat is not None and not ring.is_set():
            await beat()
