"""`python -m dev.backups save DIRECTORY | restore DIRECTORY`: dumps and restores both embedded databases."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from dev import processes, services
from dev.data_directory import DataDirectory
from dev.errors import StartError
from dev.migrations import migrate
from dev.postgres import DATABASES, Postgres
from dev.services import Service
from dev.settings import Settings, load_settings

STOP_PATIENCE = 10.0


async def save(data: DataDirectory, directory: Path) -> None:
    """Dump both databases, whether the stack runs or not. Only the owner can read the files."""
    async with _running(data) as postgres:
        for name in DATABASES:
            await _dump(postgres, name, directory / f"{name}.dump")


async def _dump(postgres: Postgres, name: str, path: Path) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    await _run(postgres, "pg_dump", "--format=custom", f"--file={unfinished}", postgres.url(name, "postgres"))
    unfinished.replace(path)


async def restore(settings: Settings, data: DataDirectory, directory: Path) -> None:
    """Replace each database that has a dump, and run `restored` of both services. Refused while the stack runs."""
    dumps = [path for name in DATABASES if (path := directory / f"{name}.dump").exists()]
    if not dumps:
        raise StartError(f"{directory}: there is neither {' nor '.join(f'{name}.dump' for name in DATABASES)}")
    with data.held():
        async with _started(data) as postgres:
            for path in dumps:
                await _restore(postgres, path)
            await _note_restored(settings, data, postgres)


async def _restore(postgres: Postgres, path: Path) -> None:
    """Drop and recreate the database. Fails while anyone is connected to it."""
    options = ("--clean", "--if-exists", "--create", "--exit-on-error")
    await _run(postgres, "pg_restore", *options, f"--dbname={postgres.url('postgres', 'postgres')}", str(path))


async def _note_restored(settings: Settings, data: DataDirectory, postgres: Postgres) -> None:
    users = services.user_service(settings, postgres, {})
    auth = services.auth_service(settings, data, postgres, {})
    for service, name in ((users, "users"), (auth, "auth")):
        await migrate(service, postgres.url(name, name))
        await _say_restored(service)


async def _say_restored(service: Service) -> None:
    await processes.run(f"{service.name} restored", service.command("restored"), service.environment)


@contextlib.asynccontextmanager
async def _running(data: DataDirectory) -> AsyncIterator[Postgres]:
    """The server of the running stack, or else one that runs for as long as the context lasts."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(data.held())
        except StartError:
            yield _server(data)
            return
        async with _started(data) as postgres:
            yield postgres


@contextlib.asynccontextmanager
async def _started(data: DataDirectory) -> AsyncIterator[Postgres]:
    postgres = _server(data)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.process.stop(STOP_PATIENCE)


def _server(data: DataDirectory) -> Postgres:
    if not data.postgres.exists():
        raise StartError(f"DATA_DIR: there are no databases in {data.root}")
    return Postgres(data.postgres, data.logs / "postgres.log")


async def _run(postgres: Postgres, program: str, *arguments: str) -> None:
    await processes.run(program, [str(postgres.programs / program), *arguments], os.environ)


def main() -> int:
    """Returns the exit status: 1, with one line on standard error, after a failure."""
    parser = argparse.ArgumentParser(prog="python -m dev.backups", description="Save and restore both databases.")
    parser.add_argument("what", choices=("save", "restore"))
    parser.add_argument(
        "directory", type=Path, help="directory of auth.dump and users.dump; a database without a dump is left alone"
    )
    given = parser.parse_args()
    try:
        settings = load_settings()
        data = DataDirectory(settings.data_dir)
        directory = given.directory.absolute()
        if given.what == "save":
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            asyncio.run(save(data, directory))
        else:
            asyncio.run(restore(settings, data, directory))
    except (StartError, OSError) as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
