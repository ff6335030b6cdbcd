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

from servicekit import postgres, postgres_hosts

_LOCK = 4_242_001


async def migrate(dsn: str, directory: Path) -> None:
    """Bring the database at `dsn` to the newest revision in `directory`. Safe to run from several processes.

    Raises SystemExit when the server refuses the role or the database, OSError when it cannot be reached.
    """

    async def connect() -> Any:
        """As the service itself does: SQLAlchemy would read the URL in its own way, without `sslmode`."""
        with postgres.refusals():
            return await postgres_hosts.connect(dsn, timeout=postgres.CONNECT_TIMEOUT)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
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
