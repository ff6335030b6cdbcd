"""The schema that a service's code needs, by its migrations, and the one that a database has."""

from pathlib import Path
from typing import Any

from servicekit.postgres import Database


def migrations(directory: Path) -> dict[str, Path]:
    """The files in `directory`, oldest first, by revision: that of `0001_what_it_does.sql` is `0001`.

    Raises ValueError if there are none, or if a number is missing or used twice.
    """
    paths = sorted(directory.glob("[0-9]*.sql"))
    revisions = [path.name.partition("_")[0] for path in paths]
    if not paths or revisions != [f"{number:04}" for number in range(1, len(paths) + 1)]:
        raise ValueError(f"the migrations in {directory} are not numbered 0001, 0002 and so on: {revisions}")
    return dict(zip(revisions, paths, strict=True))


async def revision(database: Database | Any) -> str:
    """The revision of the newest migration that `database`, or a connection to it, has; empty if it has none.

    It is kept in the table that alembic kept it in, because earlier versions look for it there.
    """
    table = await database.fetchrow("SELECT to_regclass('alembic_version') IS NOT NULL AS there")
    if not table["there"]:
        return ""
    row = await database.fetchrow("SELECT max(version_num) AS revision FROM alembic_version")
    return row["revision"] or ""


async def is_current(database: Database, directory: Path) -> bool:
    """True if the database's schema is at least as new as the newest migration in `directory`."""
    return await revision(database) >= max(migrations(directory))
