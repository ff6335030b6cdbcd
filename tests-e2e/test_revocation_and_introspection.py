"""RFC 7009 and RFC 7662, for the tokens of every dialect."""

import time

import aiohttp
import pytest

from drivers import DOORKEEPER, DRIVERS, REFRESHING, RFC6749, Driver
from exchange import Reply, basic, bearer, post_form, post_json, send
from registrations import DISABLED, INSPECTOR, PUBLIC

REVOKE, INTROSPECT = "/oauth/revoke", "/oauth/introspect"
INACTIVE = b'{"active":false}'

every_dialect = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
with_refresh_tokens = pytest.mark.parametrize("driver", REFRESHING, ids=lambda driver: driver.name)
confidential = pytest.mark.parametrize(
    "driver", [driver for driver in DRIVERS if "client_secret" in driver.identity], ids=lambda driver: driver.name
)
public = pytest.mark.parametrize(
    "driver", [driver for driver in DRIVERS if "client_secret" not in driver.identity], ids=lambda driver: driver.name
)


async def revoke(http: aiohttp.ClientSession, driver: Driver, token: str | None, **more: str) -> Reply:
    return await post_form(http, REVOKE, {**driver.identity, "token": token or "", **more})


async def introspect(http: aiohttp.ClientSession, driver: Driver, token: str | None) -> Reply:
    reply = await post_form(http, INTROSPECT, {**driver.identity, "token": token or ""})
    assert reply.status == 200, reply
    reply.assert_not_stored()
    return reply


@every_dialect
async def test_access_token_is_revoked_by_its_own_client(client: aiohttp.ClientSession, driver: Driver) -> None:
    tokens = await driver.log_in(client)
    assert await driver.accepts(client, tokens.access_token)
    reply = await revoke(client, driver, tokens.access_token)
    assert (reply.status, reply.json()) == (200, {})
    assert not await driver.accepts(client, tokens.access_token)
    if driver.refreshes:  # both belong to the session, which has ended
        driver.assert_error(await driver.refresh(client, tokens.refresh_token), *refused_refresh(driver))


def refused_refresh(driver: Driver) -> tuple[int, str]:
    return (401, "invalid_grant") if driver is DOORKEEPER else (400, "invalid_grant")


@with_refresh_tokens
async def test_revoked_refresh_token_takes_the_access_token_with_it(
    client: aiohttp.ClientSession, driver: Driver
) -> None:
    tokens = await driver.log_in(client)
    assert (await revoke(client, driver, tokens.refresh_token)).status == 200
    assert not await driver.accepts(client, tokens.access_token)
    driver.assert_error(await driver.refresh(client, tokens.refresh_token), *refused_refresh(driver))


@every_dialect
async def test_another_client_revokes_nothing(client: aiohttp.ClientSession, driver: Driver) -> None:
    tokens = await driver.log_in(client)
    for other in DRIVERS:
        if other.client_id != driver.client_id:
            for token in (tokens.access_token, tokens.refresh_token or "none"):
                assert (await revoke(client, other, token)).status == 200
    assert await driver.accepts(client, tokens.access_token)
    if driver.refreshes:
        assert (await driver.refresh(client, tokens.refresh_token)).status == 200


async def test_answer_does_not_tell_what_became_of_the_token(client: aiohttp.ClientSession) -> None:
    token = (await RFC6749.log_in(client)).access_token
    foreign = (await DOORKEEPER.log_in(client)).access_token
    replies = [await revoke(client, RFC6749, text) for text in (token, token, foreign, "unknown", "a" * 64, "ü")]
    replies.append(await post_json(client, REVOKE, {**RFC6749.identity, "token": "unknown"}))
    replies.append(await post_form(client, REVOKE, {"token": "unknown"}, basic("demo", "demo-secret")))
    for reply in replies:
        assert (reply.status, reply.body) == (200, b"{}")
        reply.assert_not_stored()


@pytest.mark.parametrize("hint", ["refresh_token", "access_token", "no such hint"])
async def test_hint_is_only_a_hint(client: aiohttp.ClientSession, hint: str) -> None:
    tokens = await RFC6749.log_in(client)
    for token in (tokens.access_token, (await RFC6749.log_in(client)).refresh_token):
        assert (await introspect(client, RFC6749, token)).json()["active"] is True
        assert (await revoke(client, RFC6749, token, token_type_hint=hint)).status == 200
        assert (await introspect(client, RFC6749, token)).body == INACTIVE


@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
async def test_client_must_authenticate(client: aiohttp.ClientSession, registered: None, path: str) -> None:
    token = (await RFC6749.log_in(client)).access_token
    replies = [
        await post_form(client, path, {"token": token}),
        await post_form(client, path, {"token": token}, bearer(token)),
        await post_form(client, path, {"token": token, "client_id": "demo"}),
        await post_form(client, path, {"token": token, "client_id": "demo", "client_secret": "wrong"}),
        await post_form(client, path, {"token": token}, basic("demo", "wrong")),
        await post_form(client, path, {"token": token}, basic("unknown", "demo-secret")),
        await post_form(client, path, {"token": token, **DISABLED.identity}),
    ]
    for reply in replies:
        RFC6749.assert_error(reply, 401, "invalid_client")
        assert reply.challenge
    assert len({reply.body for reply in replies}) == 1
    assert await RFC6749.accepts(client, token)


@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
async def test_token_must_be_named(client: aiohttp.ClientSession, path: str) -> None:
    for members in (RFC6749.identity, {**RFC6749.identity, "token": ""}):
        RFC6749.assert_error(await post_form(client, path, members), 400, "invalid_request")


@public
async def test_client_without_a_secret_does_not_introspect(client: aiohttp.ClientSession, driver: Driver) -> None:
    token = (await driver.log_in(client)).access_token
    reply = await post_form(client, INTROSPECT, {**driver.identity, "token": token})
    RFC6749.assert_error(reply, 401, "invalid_client")


def assert_active(reply: Reply, driver: Driver, subject: str) -> None:
    facts = reply.json()
    assert list(facts) == ["active", "scope", "client_id", "sub", "token_type", "iat", "exp", "iss"]
    assert facts["active"] is True
    assert (facts["client_id"], facts["sub"]) == (driver.client_id, subject)
    assert facts["scope"] == driver.extra.get("scope", "")
    assert facts["iat"] <= time.time() + 1 < facts["exp"]


@confidential
async def test_client_introspects_its_own_tokens(client: aiohttp.ClientSession, driver: Driver) -> None:
    tokens = await driver.log_in(client)
    subject = str((await driver.me(client, tokens.access_token)).json()["id"])
    assert_active(await introspect(client, driver, tokens.access_token), driver, subject)
    assert_active(await introspect(client, driver, tokens.refresh_token), driver, subject)


@every_dialect
async def test_client_with_the_scope_introspects_tokens_of_every_dialect(
    client: aiohttp.ClientSession, registered: None, driver: Driver
) -> None:
    tokens = await driver.log_in(client)
    subject = str((await driver.me(client, tokens.access_token)).json()["id"])
    assert_active(await introspect(client, INSPECTOR, tokens.access_token), driver, subject)
    await revoke(client, driver, tokens.access_token)
    assert (await introspect(client, INSPECTOR, tokens.access_token)).body == INACTIVE


async def test_inactive_has_no_reason(client: aiohttp.ClientSession, registered: None) -> None:
    revoked = await RFC6749.log_in(client)
    await revoke(client, RFC6749, revoked.access_token)
    foreign = await PUBLIC.log_in(client)
    texts = [revoked.access_token, revoked.refresh_token, foreign.access_token, foreign.refresh_token]
    texts += ["unknown", "0" * 64, "0" * 40, "a.b.c", "ü", "x" * 10_000]
    for text in texts:
        assert (await introspect(client, RFC6749, text)).body == INACTIVE


@with_refresh_tokens
async def test_refresh_token_is_no_access_token_and_the_reverse(client: aiohttp.ClientSession, driver: Driver) -> None:
    tokens = await driver.log_in(client)
    assert tokens.refresh_token
    assert not await driver.accepts(client, tokens.refresh_token)
    driver.assert_error(await driver.refresh(client, tokens.access_token), *refused_refresh(driver))
    assert await driver.accepts(client, tokens.access_token)
    assert (await driver.refresh(client, tokens.refresh_token)).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
async def test_only_post(client: aiohttp.ClientSession, path: str, method: str) -> None:
    reply = await send(client, method, path, basic("demo", "demo-secret"))
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
