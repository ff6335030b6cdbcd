"""Forward-only migrations: numbered files of SQL, each applied in a transaction that also records it.

Every transaction takes the same advisory lock, so processes that migrate at the same time take turns. It is the lock of
earlier versions too, whose migrations ran under alembic.
"""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

from servicekit import postgres, postgres_hosts, schema

_LOCK = 4_242_001
_TIMEOUT = 600.0

# One row, as alembic leaves it: earlier versions read it, and may migrate the same database.
_RECORD = """
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
DELETE FROM alembic_version;
INSERT INTO alembic_version VALUES ('{revision}');
"""


async def migrate(dsn: str, directory: Path) -> None:
    """Apply the migrations in `directory` that the database at `dsn` lacks. Safe to run from several processes.

    A database that is newer than `directory` is left as it is. Raises SystemExit when the server refuses the role, the
    database or a migration, OSError when it cannot be reached.
    """
    async with asyncio.timeout(_TIMEOUT):
        with postgres.refusals():
            connection = await postgres_hosts.connect(dsn, timeout=postgres.CONNECT_TIMEOUT)
        try:
            for revision, path in schema.migrations(directory).items():
                await _apply(connection, revision, path)
        finally:
            await connection.close(timeout=postgres.CONNECT_TIMEOUT)


async def _apply(connection: Any, revision: str, path: Path) -> None:
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        if revision <= await schema.revision(connection):
            return
        try:
            await connection.execute(_read(path))
        except asyncpg.PostgresError as error:
            message = error.args[0]  # without the detail, which may quote a user's data
            raise SystemExit(f"the database refuses {path.name}: {message}") from error
        await connection.execute(_RECORD.format(revision=revision))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
