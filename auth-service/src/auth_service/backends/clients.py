"""Client registrations in PostgreSQL, cached in the process.

A cached registration may be stale, so every statement that issues something based on one checks its version.
"""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from auth_service.backends.keyring import Keyring
from auth_service.core.model import Client
from servicekit.bounded import BoundedMap
from servicekit.postgres import Database

_REMEMBERED = 1000
# Seconds. A refresh token of the wrong form is refused without asking the database, and the form depends on the
# dialect. If a client is removed and added again in another dialect, every process knows that after this time.
_REMEMBERED_FOR = 60.0

SELECT_BY_ID = "SELECT * FROM clients WHERE client_id = $1"
SELECT_DEFAULT = "SELECT * FROM clients WHERE default_for = $1"
SELECT_ALL = """
    SELECT *, CASE WHEN former_secret_digest IS NOT NULL AND former_secret_successor = secret_digest
        AND former_secret_expires_at > now() THEN former_secret_expires_at END AS former_secret_until
    FROM clients ORDER BY client_id
"""
INSERT = """
    INSERT INTO clients (client_id, dialect, secret_digest, secret_ciphertext, grant_types, grant_types_without_secret,
        scope, default_scope, access_token_lifetime, idle_lifetime, session_lifetime, default_for)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 WHERE before_deadline($13)
"""
# $11 is true if the secret changes, possibly to none; that also ends the former secret.
UPDATE = """
    UPDATE clients SET grant_types = $3, grant_types_without_secret = $4, scope = $5, default_scope = $6,
        access_token_lifetime = $7, idle_lifetime = $8, session_lifetime = $9, default_for = $10,
        secret_digest = CASE WHEN $11 THEN $12 ELSE secret_digest END,
        secret_ciphertext = CASE WHEN $11 THEN $13 ELSE secret_ciphertext END,
        former_secret_digest = CASE WHEN NOT $11 THEN former_secret_digest END,
        version = version + 1
    WHERE client_id = $1 AND version = $2 AND before_deadline($14) RETURNING client_id
"""
# The former secret is accepted for $4; null ends it at once.
ROTATE_SECRET = """
    UPDATE clients SET secret_digest = $2, secret_ciphertext = $3,
        former_secret_digest = CASE WHEN $4::interval IS NOT NULL THEN secret_digest END,
        former_secret_successor = $2,
        former_secret_expires_at = now() + $4::interval,
        version = version + 1
    WHERE client_id = $1 AND secret_digest IS NOT NULL AND before_deadline($5) RETURNING client_id
"""
REMOVE = "DELETE FROM clients WHERE client_id = $1 AND before_deadline($2) RETURNING client_id"
SET_DISABLED = """
    UPDATE clients SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END, version = version + 1
    WHERE client_id = $1 AND before_deadline($3) RETURNING client_id
"""


class ClientExistsError(Exception):
    """Another registration already has this id, or is the default for this path."""


@dataclass(frozen=True)
class Registration:
    """A client to register. A `recoverable_secret` signs its tokens, so it is stored encrypted beside its digest."""

    client: Client
    secret: str | None
    recoverable_secret: bool


class PostgresClients:
    """Implements the port `Clients`, and the changes that the command line makes to registrations."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._by_id: BoundedMap[str, tuple[float, Client]] = BoundedMap(_REMEMBERED)
        self._by_path: dict[str, str] = {}

    async def get(self, client_id: str) -> Client | None:
        return self._remembered(client_id) or await self.fresh(client_id)

    async def fresh(self, client_id: str) -> Client | None:
        client = self._client(await self._database.fetchrow(SELECT_BY_ID, client_id))
        if client is None:
            self._by_id.pop(client_id, None)
        else:
            self._remember(client)
        return client

    async def default_for(self, path: str) -> Client | None:
        client = self._remembered(self._by_path.get(path, ""))
        if client is not None and client.default_for == path:
            return client
        return await self.fresh_default_for(path)

    async def fresh_default_for(self, path: str) -> Client | None:
        client = self._client(await self._database.fetchrow(SELECT_DEFAULT, path))
        if client is not None:
            self._remember(client)
            self._by_path[path] = client.client_id
        return client

    def _remembered(self, client_id: str) -> Client | None:
        read_at, client = self._by_id.get(client_id, (0.0, None))
        return client if time.monotonic() < read_at + _REMEMBERED_FOR else None

    def _remember(self, client: Client) -> None:
        self._by_id[client.client_id] = time.monotonic(), client

    def _client(self, row: Any) -> Client | None:
        if row is None:
            return None
        sealed = row["secret_ciphertext"]
        overlaps = row["former_secret_digest"] is not None and row["former_secret_successor"] == row["secret_digest"]
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
            default_for=row["default_for"],
            disabled=row["disabled_at"] is not None,
            secret_digest=row["secret_digest"],
            former_secret_digest=row["former_secret_digest"] if overlaps else None,
            former_secret_expires_at=row["former_secret_expires_at"].timestamp() if overlaps else 0.0,
            secret=self._keyring.decrypt(sealed, _context(row["client_id"])) if sealed is not None else None,
        )

    async def all(self) -> Iterable[Any]:
        """Every registration as a row; `former_secret_until` is None unless a former secret is still accepted."""
        return await self._database.fetch(SELECT_ALL)

    async def add(self, registration: Registration) -> None:
        """Raises ClientExistsError."""
        client = registration.client
        with _taken():
            await self._database.write(
                INSERT,
                client.client_id,
                client.dialect,
                *self._protected(registration),
                *_facts(client),
            )

    async def update(self, registration: Registration, *, another_secret: bool) -> bool:
        """Replace a registration, but its secret only if `another_secret` is true.

        Returns False if it has been changed or removed since it was read. Raises ClientExistsError.
        """
        client = registration.client
        with _taken():
            row = await self._database.write_row(
                UPDATE,
                client.client_id,
                client.version,
                *_facts(client),
                another_secret,
                *self._protected(registration),
            )
        return row is not None

    async def remove(self, client_id: str) -> bool:
        """Delete a registration, which ends its sessions; upkeep deletes them. Returns False if there is none."""
        return await self._database.write_row(REMOVE, client_id) is not None

    def _protected(self, registration: Registration) -> tuple[bytes | None, bytes | None]:
        """The secret's digest, and the encrypted secret if it must be recoverable."""
        client_id, secret = registration.client.client_id, registration.secret
        if secret is None:
            return None, None
        recoverable = registration.recoverable_secret
        sealed = self._keyring.encrypt(secret.encode(), _context(client_id)) if recoverable else None
        return hashlib.sha256(secret.encode()).digest(), sealed

    async def rotate_secret(self, client: Client, secret: str, overlap: timedelta | None = None) -> bool:
        """Replace the secret. The old one is accepted for `overlap`; the one before it is refused from now on.

        Tokens signed with a former secret remain valid. Returns False if the client is public.
        """
        digest, sealed = self._protected(Registration(client, secret, client.secret is not None))
        return await self._database.write_row(ROTATE_SECRET, client.client_id, digest, sealed, overlap) is not None

    async def set_disabled(self, client_id: str, disabled: bool) -> bool:
        """Enable a client, or disable it: it gets no tokens, and none verifies. Returns False if there is none."""
        return await self._database.write_row(SET_DISABLED, client_id, disabled) is not None


def new_secret() -> str:
    """A client secret of 256 random bits, in hex."""
    return secrets.token_hex(32)


def _facts(client: Client) -> tuple[object, ...]:
    """The values of a registration other than id, dialect and secret, in the order of the columns."""
    return (
        sorted(client.grant_types),
        sorted(client.grant_types_without_secret),
        sorted(client.scope),
        sorted(client.default_scope),
        client.access_token_lifetime,
        client.idle_lifetime,
        client.session_lifetime,
        client.default_for,
    )


@contextlib.contextmanager
def _taken() -> Iterator[None]:
    """Raise ClientExistsError if another registration has the id or the path."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        what = "is the default for this path" if "default_for" in str(error.constraint_name) else "has this id"
        raise ClientExistsError(f"a client {what} already") from None


def _context(client_id: str) -> str:
    return f"client secret {client_id}"
