"""The daily partitions of stored access tokens: created when first needed, dropped whole once their day is over."""

import re
from typing import Any

from servicekit.postgres import Database

_NAME = re.compile(r"access_tokens_(\d{1,6})")
_SCAN_TIMEOUT = 60
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('parley access token partitions'))"
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtext('parley drops access token partitions'))"
_EXISTS = "SELECT to_regclass($1) IS NOT NULL"
_PATIENCE = f"SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '{_SCAN_TIMEOUT}s'"
_ANY_ALIVE = "SELECT EXISTS (SELECT FROM %s WHERE expires_at > now())"
_TODAY = "SELECT floor(extract(epoch FROM clock_timestamp()) / 86400)::integer"
_ATTACHED = """
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'access_tokens'::regclass
"""


async def create_partition(database: Database, drop_day: int) -> None:
    """Create the partition for a day unless it exists. Attaching a partition blocks neither readers nor writers."""
    name = _name(drop_day)
    async with database.transaction() as connection:
        await connection.execute(_LOCK)
        if await connection.fetchval(_EXISTS, name):
            return
        await connection.execute("CREATE TABLE " + name + " (LIKE access_tokens INCLUDING ALL)")
        await connection.execute(
            "ALTER TABLE access_tokens ATTACH PARTITION " + name + " FOR VALUES IN (" + str(int(drop_day)) + ")"
        )


async def today(database: Database) -> int:
    """The day by the database's clock, counted from 1970-01-01 (UTC)."""
    async with database.connection() as connection:
        day: int = await connection.fetchval(_TODAY)
        return day


async def drop_expired_partitions(database: Database) -> int:
    """Drop the partitions whose day is over and whose tokens have all expired; returns their number.

    A token's partition is chosen by the day written into the token. If a clock was wrong then, the token's row, which
    expires by the database's clock alone, keeps the partition from being dropped.
    """
    current = await today(database)
    names = [row["relname"] for row in await database.fetch(_ATTACHED)]
    over = [name for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) < current]
    dropped = 0
    for name in over:
        async with database.transaction() as connection:
            dropped += await _drop(connection, name)
    return dropped


async def _drop(connection: Any, name: str) -> bool:
    """Drop one partition, unless another replica is dropping one or a token in it has not expired.

    Reading its rows may take long; meanwhile its tokens can be looked up, but none can be added. Then the parent table
    must be locked; we wait only briefly for that lock, since every lookup queues behind it.
    """
    if not await connection.fetchval(_ALONE) or not await connection.fetchval(_EXISTS, name):
        return False
    await connection.execute(_PATIENCE)
    await connection.execute("LOCK TABLE " + name + " IN SHARE MODE")
    if await connection.fetchval(_ANY_ALIVE % name, timeout=_SCAN_TIMEOUT + 1):
        return False
    await connection.execute(_LOCK)
    await connection.execute("DROP TABLE " + name)
    return True


def _name(drop_day: int) -> str:
    return f"access_tokens_{int(drop_day)}"
