"""The daily partitions of stored access tokens: made when first needed, dropped whole when they are over."""

import re
import time

import asyncpg

from servicekit.postgres import Database

_NAME = re.compile(r"access_tokens_(\d{1,6})")
_DAY = 86400
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('parley access token partitions'))"
_ATTACHED = """
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'access_tokens'::regclass
"""


async def create_partition(database: Database, drop_day: int) -> None:
    """Make the partition for a day, unless it is there. Attaching one does not hold up readers or writers."""
    name = _name(drop_day)
    async with database.transaction() as connection:
        await connection.execute(_LOCK)
        if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            return
        await connection.execute("CREATE TABLE " + name + " (LIKE access_tokens INCLUDING ALL)")
        await connection.execute(
            "ALTER TABLE access_tokens ATTACH PARTITION " + name + " FOR VALUES IN (" + str(int(drop_day)) + ")"
        )


async def drop_expired_partitions(database: Database) -> int:
    """Drop the partitions whose day is over; returns how many there were."""
    today = int(time.time() // _DAY)
    dropped = 0
    for row in await database.fetch(_ATTACHED):
        match = _NAME.fullmatch(row["relname"])
        if match and int(match[1]) < today:
            try:
                await database.execute("ALTER TABLE access_tokens DETACH PARTITION " + row["relname"] + " CONCURRENTLY")
            except (asyncpg.UndefinedTableError, asyncpg.ObjectNotInPrerequisiteStateError):
                continue  # another replica is at it
            await database.execute("DROP TABLE " + row["relname"])
            dropped += 1
    return dropped


def _name(drop_day: int) -> str:
    return f"access_tokens_{int(drop_day)}"
