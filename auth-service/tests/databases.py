"""The initial databases of tests: migrated, with a client registered for each dialect."""

import base64
import secrets
from typing import Any

import asyncpg

from auth_service.app import SIGNED_DIALECTS
from auth_service.backends import upkeep
from auth_service.backends.dead_sessions import DeadSessions
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.signing_keys import SigningKeys
from auth_service.core.errors import UnavailableError
from auth_service.migrations import DIRECTORY
from servicekit import migrations
from servicekit.postgres import connect

from .service import Party, register

MASTER_KEYS = "m1:" + base64.b64encode(secrets.token_bytes(32)).decode()
# The id and secret in the first example of doorkeeper-jwt's document.
SAMPLE_ID = "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca"
SAMPLE_SECRET = "fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97"
PARTIES = {
    party.dialect: party
    for party in (
        Party("web", secrets.token_hex(32), "rfc6749"),
        Party(SAMPLE_ID, SAMPLE_SECRET, "doorkeeper_jwt"),
        Party("mobile", None, "doorkeeper"),
        Party("MY_CLIENT_ID", "MY_CLIENT_SECRET", "cubux"),
        Party("1", "k8cdDKNruUd0IXbuOUgdoFhCpG", "passport"),
        Party("chat", None, "bongo"),
    )
}
REGISTRATIONS: dict[str, dict[str, Any]] = {
    "rfc6749": {"scope": frozenset({"read", "write"})},
    "doorkeeper": {"default_for": "/oauth/token"},
    "cubux": {"grant_types_without_secret": frozenset({"password"})},
    "bongo": {"default_for": "/api/oauth/access-token/v1/"},
}

TABLES = ("clients", "sessions", "access_tokens", "user_epochs", "global_epoch", "signing_keys")


class PrivateDatabase:
    """A database that tests use one after another, each alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pristine: dict[str, list[Any]] = {}

    async def restore(self) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            if not self._pristine:
                self._pristine = {table: await connection.fetch(f"SELECT * FROM {table}") for table in TABLES}
            for row in await connection.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits"):
                if row["name"].startswith("access_tokens_") and "pkey" not in row["name"]:
                    await connection.execute(f"DROP TABLE {row['name']}")
            await connection.execute(f"TRUNCATE {', '.join(TABLES)}")
            for table, rows in self._pristine.items():
                await connection.copy_records_to_table(table, records=rows)
        finally:
            await connection.close()


async def prepare(url: str) -> None:
    """Fill an empty database."""
    await migrations.migrate(url, DIRECTORY)
    keyring = Keyring(parse_master_keys(MASTER_KEYS))
    async with connect(url, pool_size=1, unavailable=UnavailableError) as database:
        await SigningKeys(database, keyring, SIGNED_DIALECTS).ensure()
        await upkeep.tidy_tables(database, DeadSessions(database))
        for party in PARTIES.values():
            await register(database, keyring, party, **{"default_for": None} | REGISTRATIONS.get(party.dialect, {}))
