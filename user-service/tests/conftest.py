"""A migrated database per test, an issuer of internal tokens, and the service in this process on a free port."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import jwt
import msgspec
import pytest
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_aiohttp import AiohttpClient

from servicekit import migrations, wire
from servicekit.testing import ServiceClient, ServiceServer
from servicekit.testing_relay import Relay, relaying
from user_service.app import ACCOUNTS, MIGRATIONS, create_app
from user_service.settings import Settings
from user_service.users import User

ISSUER = "https://parley.example"
PASSWORD = "correct horse battery"


class Issuer:
    """A double of auth-service: it signs internal tokens and serves its key set over HTTP."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.jwks_url = ""

    def jwks(self) -> dict[str, Any]:
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [jwk | {"kid": "test", "use": "sig", "alg": "ES256"}]}

    def token(
        self,
        subject: str,
        scope: str = "",
        client_id: str = "app",
        sid: str | None = None,
        *,
        ahead: int = 0,
        login_age: int | None = 0,
        dialect: str = "cubux",
        user_id: int | None = None,
    ) -> str:
        """A token signed with a clock that is `ahead` seconds ahead.

        The user logged in `login_age` seconds ago; with None, the token is like one from the previous version of
        auth-service. The user is `user_id`, by default the number in `subject`.
        """
        now = int(time.time()) + ahead
        claims = {"iss": ISSUER, "aud": "internal", "sub": subject, "client_id": client_id, "scope": scope}
        claims |= {"iat": now, "exp": now + 60, "jti": secrets.token_hex(8)}
        if sid is not None:
            claims["sid"] = sid
        if user_id is None and subject.isdigit():
            user_id = int(subject)
        if login_age is not None:
            claims["dialect"] = dialect
            if user_id is not None:
                claims |= {"user_id": user_id, "auth_time": now - login_age}
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"typ": "at+jwt", "kid": "test"})

    def service_token(self, scope: str) -> str:
        return self.token("auth-service", scope, client_id="auth-service")


class Reply(msgspec.Struct):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def faulty_fields(self) -> set[str]:
        return {error["field"] for error in self.json["errors"]}


class Service:
    """A running service, and the requests that tests send to it."""

    def __init__(self, client: ServiceClient, database_url: str, issuer: Issuer) -> None:
        self.app = client.app
        self.url = client.server.origin
        self.session = client.session
        self.database_url = database_url
        self.issuer = issuer

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: int | None = None,
        sid: str | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Reply:
        """With `user`, send an internal token for that user; `body` is sent as JSON, `data` as it is."""
        sent = {"Content-Type": wire.JSON} if body is not None or data is not None else {}
        if user is not None:
            token = self.issuer.token(str(user), sid=sid)
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        payload = data if data is not None else None if body is None else msgspec.json.encode(body)
        url = aiohttp.client.URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=payload, headers=sent | (headers or {})) as response:
            return Reply(response.status, response.headers, await response.read())

    async def sign_up(self, password: str = PASSWORD, **names: Any) -> Reply:
        return await self.request("POST", "/api/v1/users", {"user": {**names, "password": password}})

    async def check(self, login: str, password: str, login_type: str = "any") -> Any:
        body = {"login": login, "password": password, "login_type": login_type}
        token = self.issuer.service_token("credentials:check")
        reply = await self.request("POST", "/internal/credentials/check", body, token=token)
        assert reply.status == 200
        return reply.json["user"]

    async def accounts_of(self, login: str, login_type: str = "any") -> tuple[str, ...]:
        token = self.issuer.service_token("credentials:check")
        body = {"login": login, "login_type": login_type}
        reply = await self.request("POST", "/internal/credentials/account", body, token=token)
        assert reply.status == 200
        return tuple(reply.json["accounts"])

    async def events(self, wait: float = 0) -> list[dict[str, Any]]:
        token = self.issuer.service_token("events:consume")
        reply = await self.request("GET", f"/internal/events?wait={wait}", token=token)
        assert reply.status == 200
        events: list[dict[str, Any]] = reply.json["events"]
        return events

    async def acknowledge(self, *ids: int) -> None:
        token = self.issuer.service_token("events:consume")
        reply = await self.request("POST", "/internal/events/ack", {"ids": ids}, token=token)
        assert (reply.status, reply.body) == (204, b"")

    async def add(self, password: str | None = None, role: Any = "default", **names: str) -> User:
        """Add a user as the command line does: without a password, nothing is hashed."""
        return await self.app[ACCOUNTS].sign_up(names, password, role)  # type: ignore[arg-type]

    async def rows(self, statement: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def acknowledging(self) -> AsyncIterator[None]:
        """Acknowledge every event at once, as auth-service does."""

        async def consume() -> None:
            while True:
                events = await self.events(wait=5)
                await self.acknowledge(*(event["id"] for event in events))

        task = asyncio.create_task(consume())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))


Start = Callable[..., Awaitable[Service]]


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Replace structlog's own rendering of an exception, which takes a second."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])


@pytest.fixture(scope="session")
def template(create_database: Callable[..., str]) -> str:
    """The name of a migrated template database."""
    url = create_database()
    asyncio.run(migrations.migrate(url, MIGRATIONS))
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def emptied_database_url(create_database: Callable[..., str], template: str) -> str:
    return create_database(template)


@pytest.fixture
async def database_url(emptied_database_url: str) -> str:
    """A database that is empty when the test begins: emptying one is much faster than a copy."""
    connection = await asyncpg.connect(emptied_database_url)
    await connection.execute("DELETE FROM outbox")
    await connection.execute("DELETE FROM users")
    await connection.execute("UPDATE epoch_base SET base = 0")
    await connection.close()
    return emptied_database_url


@pytest.fixture
def unmigrated_database_url(create_database: Callable[..., str]) -> str:
    return create_database()


@pytest.fixture(scope="session")
def lasting_database_url(create_database: Callable[..., str], template: str) -> str:
    return create_database(template)


@pytest.fixture(scope="session")
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()

    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response(issuer.jwks())

    app = web.Application()
    app.router.add_get("/jwks.json", jwks)
    async with ServiceServer(app) as server:
        issuer.jwks_url = f"{server.origin}/jwks.json"
        yield issuer


def served(database_url: str, issuer: Issuer, **changed: Any) -> ServiceServer:
    settings: dict[str, Any] = {
        "database_url": database_url,
        "database_pool_size": 4,
        "issuer": ISSUER,
        "jwks_url": issuer.jwks_url,
        "open_sign_up": True,
        "throttle_exempt": "127.0.0.0/8",
    }
    return ServiceServer(create_app(Settings(**(settings | changed))))


@pytest.fixture
def aiohttp_client_cls() -> type[ServiceClient]:
    return ServiceClient


@pytest.fixture
def start(database_url: str, issuer: Issuer, aiohttp_client: AiohttpClient) -> Start:
    """Call with settings to start a service over this test's database; call again for another replica."""

    async def start(**changed: Any) -> Service:
        url = changed.pop("database_url", database_url)
        return Service(await aiohttp_client(served(url, issuer, **changed)), url, issuer)

    return start


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[Relay]:
    """A relay to this test's database; start the service with the relay's URL."""
    async with relaying(database_url) as relay:
        yield relay


@pytest.fixture
async def service(start: Start) -> Service:
    """A service with a private database, open for sign-up."""
    return await start()


@pytest.fixture
def client(service: Service) -> aiohttp.ClientSession:
    """A client for requests that `Service.request` cannot send; it takes whole URLs."""
    return service.session


@pytest.fixture(scope="session")
async def lasting_service(lasting_database_url: str, issuer: Issuer) -> AsyncIterator[Service]:
    """A service for tests that leave nothing behind, or that ignore what others left."""
    async with ServiceClient(served(lasting_database_url, issuer)) as client:
        yield Service(client, lasting_database_url, issuer)
