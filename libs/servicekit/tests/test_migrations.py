"""Migrations over a Unix socket, whose directory stands in the URL's query."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from servicekit import migrations, postgres, schema

REVISION = """
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE things (id int)")
"""


@pytest.fixture
def dsn(create_database: Callable[[str], str], tmp_path: Path) -> str:
    """The URL of an empty database, by a socket directory with a space in its name."""
    url = urlsplit(create_database("template1"))
    sockets = tmp_path / "socket directory"
    sockets.symlink_to(parse_qs(url.query)["host"][0])
    return f"postgresql://postgres@{url.path}?host={quote(str(sockets))}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "migrations"
    directory.mkdir()
    (directory / "0001_things.py").write_text(REVISION)
    return directory


async def test_processes_that_migrate_at_once_take_turns(dsn: str, directory: Path) -> None:
    await asyncio.gather(*(migrations.migrate(dsn, directory) for _ in range(3)))
    async with postgres.connect(dsn, pool_size=1, unavailable=RuntimeError) as database:
        assert await schema.is_current(database, directory)
        assert await database.fetch("SELECT id FROM things") == []


async def test_newer_migration_is_not_current(dsn: str, directory: Path) -> None:
    await migrations.migrate(dsn, directory)
    (directory / "0002_more.py").touch()
    async with postgres.connect(dsn, pool_size=1, unavailable=RuntimeError) as database:
        assert not await schema.is_current(database, directory)
