"""A stolen access token alone cannot take over or delete an account: that needs a recent login or the password."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import jwt
import msgpack
import pytest

from dev.testing import Stack
from drivers import CUBUX, DOORKEEPER, RFC6749, Driver, Tokens
from exchange import Reply, bearer, post_json, send
from marks import needs_own_stack
from operations import connect, internal_token
from people import Person

pytestmark = needs_own_stack

AGED = """
    UPDATE sessions SET created_at = created_at - interval '302 s', auth_time = auth_time - interval '302 s'
    WHERE id = $1
"""
ADMINISTRATOR = {"username": "admin@example.com", "password": "password"}
MSGPACK = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}
CHALLENGE = r'Bearer error="insufficient_user_authentication", error_description="[^"]+", max_age=300'
NEW_PASSWORD = "another long enough password"

LogIn = Callable[..., Awaitable[Tokens]]


@pytest.fixture
async def sessions(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(stack, "auth")
    yield connection
    await connection.close()


@pytest.fixture
def logged_in_long_ago(stack: Stack, client: aiohttp.ClientSession, sessions: asyncpg.Connection) -> LogIn:
    """Call like a driver's `log_in` to get tokens from a login more than five minutes ago."""

    async def log_in(driver: Driver, **login: str) -> Tokens:
        tokens = await driver.log_in(client, **login)
        claims = jwt.decode(await internal_token(stack, tokens.access_token), options={"verify_signature": False})
        await sessions.execute("UPDATE clients SET created_at = created_at - interval '302 s'")  # no session is older
        await sessions.execute(AGED, int(claims["sid"], 16))
        return tokens

    return log_in


async def ask(client: aiohttp.ClientSession, driver: Driver, token: str, method: str, path: str, body: Any) -> Reply:
    """Send `body` as clients of this dialect encode it: in MessagePack for doorkeeper."""
    if driver is DOORKEEPER:
        return await send(client, method, path, {**MSGPACK, **bearer(token)}, msgpack.packb(body) if body else None)
    if not body:
        return await send(client, method, path, bearer(token))
    return await post_json(client, path, body, bearer(token), method=method)


def assert_refused(driver: Driver, reply: Reply) -> None:
    assert reply.status == 403, reply
    problem = msgpack.unpackb(reply.body) if driver is DOORKEEPER else reply.json()
    assert (problem["status"], problem["error"]) == (403, "insufficient_user_authentication")
    assert "current_password" in problem["detail"]
    assert reply.challenge is None if driver is not RFC6749 else re.fullmatch(CHALLENGE, reply.challenge or "")


@pytest.mark.parametrize("driver", [RFC6749, DOORKEEPER, CUBUX], ids=lambda driver: driver.name)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_user_proves_to_be_the_user_by_a_login_or_the_password(
    client: aiohttp.ClientSession, logged_in_long_ago: LogIn, person: Person, driver: Driver, method: str
) -> None:
    login = {driver.login_name: person.email, "password": person.password}
    path = f"/api/v1/users/{person.id}"
    body = {"user": {"username": f"name {person.id}"}} if method == "PATCH" else {}
    old = await logged_in_long_ago(driver, **login)
    refreshed = driver.tokens(await driver.refresh(client, old.refresh_token))
    for token in (old.access_token, refreshed.access_token):
        assert_refused(driver, await ask(client, driver, token, method, path, body))
        wrong = {**body, "current_password": "not the password"}
        assert_refused(driver, await ask(client, driver, token, method, path, wrong))
    same = {"user": {"email": person.email}}
    assert (await ask(client, driver, old.access_token, "PATCH", path, same)).status == 200
    fresh = await driver.log_in(client, **login)
    if method == "PATCH":
        assert (await ask(client, driver, fresh.access_token, method, path, body)).status == 200
        body = {"user": {"username": f"other name {person.id}"}}
    proven = {**body, "current_password": person.password}
    assert (await ask(client, driver, old.access_token, method, path, proven)).status in (200, 204)


async def test_an_administrator_proves_it_too(
    client: aiohttp.ClientSession, logged_in_long_ago: LogIn, person: Person
) -> None:
    """The administrator needs the administrator's own password, even for a request about somebody else."""
    old = (await logged_in_long_ago(RFC6749, **ADMINISTRATOR)).access_token
    theirs = await RFC6749.log_in(client, **person.login)
    path = f"/api/v1/users/{person.id}"
    requests: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"user": {"username": f"name {person.id}"}}),
        ("POST", f"{path}/password", {"password": NEW_PASSWORD}),
        ("DELETE", path, {}),
    ]
    for method, target, body in requests:
        for proof in ({}, {"current_password": person.password}):
            assert_refused(RFC6749, await ask(client, RFC6749, old, method, target, {**body, **proof}))
    assert await RFC6749.accepts(client, theirs.access_token)
    for method, target, body in requests[:2]:
        proven = {**body, "current_password": ADMINISTRATOR["password"]}
        assert (await ask(client, RFC6749, old, method, target, proven)).status in (200, 204)
    assert not await RFC6749.accepts(client, theirs.access_token)
    RFC6749.assert_error(await RFC6749.refresh(client, theirs.refresh_token), 400, "invalid_grant")
    await RFC6749.log_in(client, username=f"name {person.id}", password=NEW_PASSWORD)
    fresh = (await RFC6749.log_in(client, **ADMINISTRATOR)).access_token
    assert (await send(client, "DELETE", path, bearer(fresh))).status == 204
