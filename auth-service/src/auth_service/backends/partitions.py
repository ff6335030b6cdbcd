"""The daily partitions of stored access tokens: made when first needed, dropped whole when they are over."""

import re
import time

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
    """Drop the partitions whose day is over; returns how many there were.

    It waits a moment for the lock on the parent table and no longer: whoever verifies would wait behind it.
    """
    today = int(time.time() // _DAY)
    names = [row["relname"] for row in await database.fetch(_ATTACHED)]
    expired = [name for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) < today]
    for name in expired:
        async with database.transaction() as connection:
            await connection.execute(_LOCK)
            await connection.execute("SET LOCAL lock_timeout = '500ms'")
            await connection.execute("DROP TABLE IF EXISTS " + name)
    return len(expired)


def _name(drop_day: int) -> str:
    return f"access_tokens_{int(drop_day)}"
