"""A running auth-service, and the requests that tests send to it."""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import asyncpg
import msgspec

from auth_service.app import DIALECTS
from auth_service.backends.clients import PostgresClients, Registration
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.core.errors import UnavailableError
from auth_service.core.model import Client
from servicekit.postgres import Database, connect

from .user_service_double import User, UserService

ISSUER = "https://parley.example"
REFRESHING = ("rfc6749", "doorkeeper_jwt", "doorkeeper", "cubux", "passport")  # the dialects with refresh tokens
LOGIN = {"doorkeeper": "login", "bongo": "phone_number"}
PATHS = {"cubux": "/oauth2/token", "bongo": "/api/oauth/access-token/v1/"}
# All columns with times, except those that decide nothing.
TIMES = {
    "clients": ("created_at", "former_secret_expires_at"),
    "sessions": (
        *("created_at", "auth_time", "rotated_at", "rotations_since", "idle_expires_at", "expires_at", "revoked_at"),
    ),
    "access_tokens": ("issued_at", "expires_at"),
}


@dataclass(frozen=True)
class Party:
    """A registered client and its dialect."""

    client_id: str
    secret: str | None
    dialect: str

    @property
    def path(self) -> str:
        return PATHS.get(self.dialect, "/oauth/token")

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": self.client_id} | ({"client_secret": self.secret} if self.secret else {})


async def register(database: Database, keyring: Keyring, party: Party, default_for: str | None, **given: Any) -> None:
    """Register a client as `clients add` does: values not given are the dialect's defaults."""
    dialect = DIALECTS[party.dialect]
    chosen = {
        "grant_types": dialect.defaults.grant_types,
        "scope": dialect.defaults.scope,
        "access_token_lifetime": dialect.defaults.access_token_lifetime,
        "idle_lifetime": dialect.defaults.idle_lifetime,
        "session_lifetime": dialect.defaults.session_lifetime,
    } | given
    client = Client(
        client_id=party.client_id,
        dialect=party.dialect,
        version=1,
        default_for=default_for,
        **{"default_scope": chosen["scope"]} | chosen,
    )
    registration = Registration(client, party.secret, dialect.formats.access_token.needs_secret)
    await PostgresClients(database, keyring).add(registration)


class Reply(msgspec.Struct):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def access(self) -> str:
        """The access token, which must have been issued."""
        assert self.status in (200, 201), self.body
        return self.json.get("result", self.json)["access_token"]

    @property
    def refresh(self) -> str:
        """The refresh token, which must have been issued."""
        assert self.status == 200, self.body
        return self.json["refresh_token"]

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]


class Service:
    """`url` is the address of one process; others may serve the same database."""

    def __init__(
        self, url: str, database_url: str, master_keys: str, users: UserService, http: aiohttp.ClientSession
    ) -> None:
        self.url = url
        self.database_url = database_url
        self.master_keys = master_keys
        self.users = users
        self.http = http

    async def request(self, method: str, path: str, **given: Any) -> Reply:
        async with self.http.request(method, aiohttp.client.URL(self.url + path, encoded=True), **given) as response:
            return Reply(response.status, response.headers, await response.read())

    async def token(self, party: Party, grant_type: str, headers: Any = None, **parameters: str) -> Reply:
        body = {**party.credentials, "grant_type": grant_type, **parameters}
        return await self.request("POST", party.path, json=body, headers=headers)

    async def login(self, party: Party, user: User, headers: Any = None, **parameters: str) -> Reply:
        body = {LOGIN.get(party.dialect, "username"): user.login, "password": user.password}
        return await self.token(party, "password", headers, **{**body, **parameters})

    async def refresh(self, party: Party, refresh_token: str, headers: Any = None, **parameters: str) -> Reply:
        return await self.token(party, "refresh_token", headers, refresh_token=refresh_token, **parameters)

    async def verify(self, token: str, **headers: str) -> Reply:
        return await self.request("GET", "/verify-token", headers={"Authorization": f"Bearer {token}", **headers})

    async def verdict(self, token: str) -> int:
        return (await self.verify(token)).status

    async def rows(self, statement: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    async def age(self, seconds: float) -> None:
        """Let time pass: every clock is the database's, so all times in the database are moved back."""
        for table, columns in TIMES.items():
            moved = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
            await self.rows(f"UPDATE {table} SET {moved}", timedelta(seconds=seconds))

    async def register(
        self, dialect: str, *, public: bool = False, default_for: str | None = None, **given: Any
    ) -> Party:
        """Register a client that no other test uses."""
        secret = None if public else secrets.token_hex(32)
        party = Party(f"client-{secrets.token_hex(4)}", secret, dialect)
        keyring = Keyring(parse_master_keys(self.master_keys))
        async with connect(self.database_url, pool_size=1, unavailable=UnavailableError) as database:
            await register(database, keyring, party, default_for, **given)
        return party


async def at_once(*requests: Any) -> list[Reply]:
    """Send all requests at the same time."""
    return await asyncio.gather(*requests)
