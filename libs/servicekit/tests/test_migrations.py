"""Migrations over a Unix socket whose directory is in the URL's query."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest

from servicekit import migrations, postgres, schema

# The tables in a database that earlier versions migrated with alembic.
LEFT_BY_ALEMBIC = """
CREATE TABLE things (id int);
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version (version_num) VALUES ('0001');
"""


@pytest.fixture
def dsn(create_database: Callable[[str], str], tmp_path: Path) -> str:
    """The URL of an empty database, with a socket directory that has a space in its name."""
    url = urlsplit(create_database("template1"))
    sockets = tmp_path / "socket directory"
    sockets.symlink_to(parse_qs(url.query)["host"][0])
    return f"postgresql://postgres@{url.path}?host={quote(str(sockets))}"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "migrations"
    directory.mkdir()
    sql = "-- Things; and what to do with 50 % of them.\nCREATE TABLE things (id int);"
    (directory / "0001_things.sql").write_text(sql)
    return directory


async def test_processes_that_migrate_at_once_take_turns(dsn: str, directory: Path) -> None:
    await asyncio.gather(*(migrations.migrate(dsn, directory) for _ in range(3)))
    async with postgres.connect(dsn, pool_size=1, unavailable=RuntimeError) as database:
        assert await schema.is_current(database, directory)
        assert await database.fetch("SELECT id FROM things") == []


async def test_newer_migration_is_not_current(dsn: str, directory: Path) -> None:
    await migrations.migrate(dsn, directory)
    (directory / "0002_more.sql").touch()
    async with postgres.connect(dsn, pool_size=1, unavailable=RuntimeError) as database:
        assert not await schema.is_current(database, directory)


async def test_database_migrated_by_alembic_goes_on_from_there(
    dsn: str, directory: Path, connection: asyncpg.Connection
) -> None:
    await connection.execute(LEFT_BY_ALEMBIC)
    (directory / "0002_names.sql").write_text("ALTER TABLE things ADD COLUMN name text;")
    (directory / "0003_more.sql").write_text("INSERT INTO things VALUES (1, 'one'); INSERT INTO things VALUES (2);")
    await migrations.migrate(dsn, directory)
    assert await connection.fetch("SELECT id, name FROM things ORDER BY id") == [(1, "one"), (2, None)]
    assert await connection.fetch("SELECT version_num FROM alembic_version") == [("0003",)]


async def test_newer_database_is_left_as_it_is(dsn: str, directory: Path, connection: asyncpg.Connection) -> None:
    await connection.execute(LEFT_BY_ALEMBIC.replace("0001", "0002"))
    await migrations.migrate(dsn, directory)
    assert await connection.fetch("SELECT version_num FROM alembic_version") == [("0002",)]
    async with postgres.connect(dsn, pool_size=1, unavailable=RuntimeError) as database:
        assert await schema.is_current(database, directory)


async def test_refused_migration_changes_nothing_and_is_named(
    dsn: str, directory: Path, connection: asyncpg.Connection
) -> None:
    refused = directory / "0002_half.sql"
    refused.write_text("CREATE TABLE half (id int); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(SystemExit, match=r'^the database refuses 0002_half\.sql: relation "nowhere" does not exist$'):
        await migrations.migrate(dsn, directory)
    assert await connection.fetch("SELECT version_num FROM alembic_version") == [("0001",)]
    refused.write_text("CREATE TABLE half (id int);")
    await migrations.migrate(dsn, directory)
    assert await connection.fetch("SELECT version_num FROM alembic_version") == [("0002",)]


@pytest.mark.parametrize("name", ["0001_same_number.sql", "0003_number_left_out.sql", "002_short.sql"])
async def test_migrations_that_are_not_numbered_in_order_are_refused(dsn: str, directory: Path, name: str) -> None:
    (directory / name).touch()
    with pytest.raises(ValueError, match="are not numbered"):
        await migrations.migrate(dsn, directory)
