"""Runs commands against the store, and prints their results."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer

from auth_service.app import open_store
from auth_service.backends.keyring import Keyring
from auth_service.core.errors import UnavailableError
from auth_service.settings import StoreSettings
from servicekit.command_line import print_table
from servicekit.logs import configure_logs
from servicekit.postgres import Database
from servicekit.settings import load_settings

T = TypeVar("T")
IDS = ("id", "kid", "client_id", "user_id", "value")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run(work: Callable[[Database, Keyring, StoreSettings], Awaitable[T]]) -> T:
    """Run `work` with the store open. Exits with status 1 and one line if the database cannot be reached."""
    settings = load_settings(StoreSettings)
    configure_logs("auth-service", settings.log_level, sys.stderr)

    async def opened() -> T:
        async with open_store(settings, wait=False) as (database, keyring):
            return await work(database, keyring, settings)

    try:
        return asyncio.run(opened())
    except UnavailableError as error:
        raise SystemExit(str(error)) from None


def fail(message: str) -> SystemExit:
    """The exception to raise when a command fails: it exits with status 1 and prints one line."""
    return SystemExit(message)


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Print rows as a table of these columns, or as a JSON list of objects."""
    if as_json:
        print_json([{column: row[column] for column in columns} for row in rows])
        return
    print_table(columns, [[_cell(row[column]) for column in columns] for row in rows], IDS)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else sorted(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return " ".join(sorted(value)) if isinstance(value, list | frozenset) else str(value)
