"""Checks that a database has the schema that the code needs, without alembic, which takes a second to import."""

from pathlib import Path

from servicekit.postgres import Database


def newest(directory: Path) -> str:
    """The revision of the newest migration in `directory`; files are named `0001_what_it_does.py`."""
    return max(path.name for path in directory.glob("[0-9]*.py")).partition("_")[0]


async def is_current(database: Database, directory: Path) -> bool:
    """True if the database's schema is at least as new as the newest migration in `directory`."""
    table = await database.fetchrow("SELECT to_regclass('alembic_version') IS NOT NULL AS there")
    if not table["there"]:
        return False
    row = await database.fetchrow("SELECT max(version_num) AS version FROM alembic_version")
    return row["version"] is not None and row["version"] >= newest(directory)
