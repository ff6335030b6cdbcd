"""The background work of every replica: advances keys, creates and drops partitions, deletes dead sessions."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from auth_service.backends.dead_sessions import DeadSessions
from auth_service.backends.partitions import create_partition, drop_expired_partitions, today
from auth_service.backends.signing_keys import RELOAD_SECONDS, SigningKeys
from auth_service.core.errors import UnavailableError
from servicekit.pauses import pause
from servicekit.postgres import Database

log = structlog.get_logger()

RELOAD_KEYS_EVERY = RELOAD_SECONDS
ADVANCE_KEYS_EVERY = 5.0
TABLES_EVERY = 60.0
_DAYS_AHEAD = 3

# An epoch is needed as long as there may be an older session, or a login that began before it.
DELETE_EPOCHS = """
    DELETE FROM user_epochs e WHERE raised_at < now() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM sessions s WHERE s.user_id = e.user_id AND s.revoked_at IS NULL AND s.epoch < e.epoch
        )
        AND before_deadline($1)
"""


async def keep_up(database: Database, keys: SigningKeys) -> None:
    """Do the background work forever; work that fails is retried in the next round."""
    dead_sessions = DeadSessions(database)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_every(RELOAD_KEYS_EVERY, keys.reload))
        tasks.create_task(_every(ADVANCE_KEYS_EVERY, keys.advance))
        tasks.create_task(_every(TABLES_EVERY, lambda: tidy_tables(database, dead_sessions)))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except UnavailableError as error:
            log.warning("background work failed", cause=str(error))
        except Exception:
            log.exception("background work failed")
        await pause(seconds)


async def tidy_tables(database: Database, dead_sessions: DeadSessions) -> None:
    """Create the partitions of the next days, drop expired ones, and delete dead sessions and epochs."""
    first = await today(database)
    for day in range(first, first + _DAYS_AHEAD):
        await create_partition(database, day)
    dropped = await drop_expired_partitions(database)
    deleted = await dead_sessions.delete()
    await database.write(DELETE_EPOCHS)
    if dropped or deleted:
        log.info("tables tidied", partitions_dropped=dropped, sessions_deleted=deleted)
