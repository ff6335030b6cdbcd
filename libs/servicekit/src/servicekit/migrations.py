"""Forward-only alembic migrations of plain SQL, run under an advisory lock, one process at a time."""

import asyncio
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from servicekit.postgres import Database

_LOCK = 4_242_001


def newest(directory: Path) -> str:
    """The revision of the newest migration in `directory`; files are named `0001_what_it_does.py`."""
    return max(path.name for path in directory.glob("[0-9]*.py")).partition("_")[0]


async def is_current(database: Database, directory: Path) -> bool:
    """Whether the database's schema is at least as new as `directory`."""
    table = await database.fetchrow("SELECT to_regclass('alembic_version') IS NOT NULL AS there")
    if not table["there"]:
        return False
    row = await database.fetchrow("SELECT max(version_num) AS version FROM alembic_version")
    return row["version"] is not None and row["version"] >= newest(directory)


async def migrate(dsn: str, directory: Path) -> None:
    """Bring the database at `dsn` to the newest revision in `directory`. Safe to run from several processes."""
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)
    try:
        async with asyncio.timeout(600), engine.begin() as connection:
            await connection.run_sync(_upgrade, directory)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, directory: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(directory))
    config.set_main_option("version_locations", str(directory))
    config.set_main_option("path_separator", "newline")
    script = ScriptDirectory.from_config(config)

    def to_head(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    with EnvironmentContext(config, script, fn=to_head) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
