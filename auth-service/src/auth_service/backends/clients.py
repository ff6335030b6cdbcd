"""Client registrations in PostgreSQL, remembered in the process.

A remembered registration may be stale: every statement that issues something on its strength names its version.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from auth_service.backends.keyring import Keyring
from auth_service.core.model import Client
from servicekit.postgres import Database

_REMEMBERED = 1000

SELECT_BY_ID = "SELECT * FROM clients WHERE client_id = $1"
SELECT_DEFAULT = "SELECT * FROM clients WHERE default_for = $1"
SELECT_ALL = "SELECT * FROM clients ORDER BY client_id"
INSERT = """
    INSERT INTO clients (client_id, dialect, secret_digest, secret_ciphertext, grant_types, grant_types_without_secret,
        scope, default_scope, access_token_lifetime, idle_lifetime, session_lifetime, default_for)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 WHERE before_deadline($13)
"""
ROTATE_SECRET = """
    UPDATE clients SET secret_digest = $2, secret_ciphertext = $3, version = version + 1
    WHERE client_id = $1 AND secret_digest IS NOT NULL AND before_deadline($4) RETURNING client_id
"""
SET_DISABLED = """
    UPDATE clients SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END, version = version + 1
    WHERE client_id = $1 AND before_deadline($3) RETURNING client_id
"""


class ClientExistsError(Exception):
    """A registration has this id, or answers at this path, already."""


@dataclass(frozen=True)
class Registration:
    """A client to be registered; a `recoverable_secret` signs its tokens, so it is kept encrypted beside its digest."""

    client: Client
    secret: str | None
    recoverable_secret: bool
    default_for: str | None


class PostgresClients:
    """The port `Clients`, and what the command line does with registrations."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._by_id: dict[str, Client] = {}
        self._by_path: dict[str, str] = {}

    async def get(self, client_id: str) -> Client | None:
        return self._by_id.get(client_id) or await self.fresh(client_id)

    async def fresh(self, client_id: str) -> Client | None:
        client = self._client(await self._database.fetchrow(SELECT_BY_ID, client_id))
        if client is None:
            self._by_id.pop(client_id, None)
        else:
            self._remember(client)
        return client

    async def default_for(self, path: str) -> Client | None:
        known = self._by_path.get(path)
        if known is not None:
            return await self.get(known)
        client = self._client(await self._database.fetchrow(SELECT_DEFAULT, path))
        if client is not None:
            self._remember(client)
            self._by_path[path] = client.client_id
        return client

    def _remember(self, client: Client) -> None:
        if len(self._by_id) >= _REMEMBERED:
            self._by_id.clear()
        self._by_id[client.client_id] = client

    def _client(self, row: Any) -> Client | None:
        if row is None:
            return None
        sealed = row["secret_ciphertext"]
        return Client(
            client_id=row["client_id"],
            dialect=row["dialect"],
            version=row["version"],
            grant_types=frozenset(row["grant_types"]),
            grant_types_without_secret=frozenset(row["grant_types_without_secret"]),
            scope=frozenset(row["scope"]),
            default_scope=frozenset(row["default_scope"]),
            access_token_lifetime=row["access_token_lifetime"],
            idle_lifetime=row["idle_lifetime"],
            session_lifetime=row["session_lifetime"],
            disabled=row["disabled_at"] is not None,
            secret_digest=row["secret_digest"],
            secret=self._keyring.decrypt(sealed, _context(row["client_id"])) if sealed is not None else None,
        )

    async def all(self) -> Iterable[Any]:
        """Every registration as a row, the default path and the time of registration included."""
        return await self._database.fetch(SELECT_ALL)

    async def add(self, registration: Registration) -> None:
        """Raises ClientExistsError."""
        client = registration.client
        digest, sealed = self._protected(client.client_id, registration.secret, registration.recoverable_secret)
        try:
            await self._database.write(
                INSERT,
                client.client_id,
                client.dialect,
                digest,
                sealed,
                sorted(client.grant_types),
                sorted(client.grant_types_without_secret),
                sorted(client.scope),
                sorted(client.default_scope),
                client.access_token_lifetime,
                client.idle_lifetime,
                client.session_lifetime,
                registration.default_for,
            )
        except asyncpg.UniqueViolationError as error:
            what = "answers at this path" if "default_for" in str(error.constraint_name) else "has this id"
            raise ClientExistsError(f"a client {what} already") from None

    def _protected(self, client_id: str, secret: str | None, recoverable: bool) -> tuple[bytes | None, bytes | None]:
        if secret is None:
            return None, None
        sealed = self._keyring.encrypt(secret.encode(), _context(client_id)) if recoverable else None
        return hashlib.sha256(secret.encode()).digest(), sealed

    async def rotate_secret(self, client: Client, secret: str) -> bool:
        """Replace the secret; tokens signed with the old one keep their worth. False: the client is public."""
        digest, sealed = self._protected(client.client_id, secret, client.secret is not None)
        return await self._database.write_row(ROTATE_SECRET, client.client_id, digest, sealed) is not None

    async def set_disabled(self, client_id: str, disabled: bool) -> bool:
        """A disabled client gets no tokens and none of its tokens verifies. False: there is no such client."""
        return await self._database.write_row(SET_DISABLED, client_id, disabled) is not None


def new_secret() -> str:
    """A client secret of 256 random bits, in hex."""
    return secrets.token_hex(32)


def _context(client_id: str) -> str:
    return f"client secret {client_id}"
