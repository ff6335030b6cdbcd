"""Migration 0006 takes locks on tables that every request uses; it lets others go on while it cannot have them all."""

import asyncio
import shutil

import asyncpg
import pytest

from auth_service.migrations import DIRECTORY
from servicekit import migrations
from servicekit.postgres import connect
from servicekit.schema import is_current


@pytest.fixture
def earlier(create_database, tmp_path):
    """The URL of a database as the previous version migrated it."""
    url = create_database()
    for path in DIRECTORY.glob("000[1-5]_*.sql"):
        shutil.copy(path, tmp_path)
    asyncio.run(migrations.migrate(url, tmp_path))
    return url


async def test_nobody_waits_long_while_a_reader_holds_the_sessions(earlier):
    reader, other = await asyncpg.connect(earlier), await asyncpg.connect(earlier)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT id FROM sessions")
            migrating = asyncio.create_task(migrations.migrate(earlier, DIRECTORY))
            for table in ("signing_keys", "sessions", "live_sessions") * 3:
                await asyncio.wait_for(other.fetch(f"SELECT * FROM {table}"), 1)
                await asyncio.sleep(0.1)
            assert not migrating.done()
        await asyncio.wait_for(migrating, 10)
        assert await other.fetch("SELECT purpose FROM signing_keys") == []
        async with connect(earlier, pool_size=1, unavailable=RuntimeError) as database:
            assert await is_current(database, DIRECTORY)
    finally:
        await reader.close()
        await other.close()
