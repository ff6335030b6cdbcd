"""Migrations of a service's database, by the service's own command line."""

import importlib.util
from pathlib import Path

from dev import processes
from dev.errors import StartError
from dev.services import Service
from servicekit import postgres, schema


async def migrate(service: Service, database_url: str) -> None:
    """Migrate the database at `database_url` unless its schema is current. Raises `StartError`."""
    async with postgres.connect(database_url, pool_size=1, unavailable=StartError) as database:
        if await schema.is_current(database, _directory(service)):
            return
    await processes.run(f"{service.name} migrate", service.command("migrate"), service.environment)


def _directory(service: Service) -> Path:
    spec = importlib.util.find_spec(service.module)
    if spec is None or spec.origin is None:
        raise StartError(f"{service.name}: the package {service.module} is not installed")
    return Path(spec.origin).parent / "migrations"
