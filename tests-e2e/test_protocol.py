"""RFC 6749 beyond single grants: methods, parameters, scope, rotation, and texts that no reply or log may contain."""

import asyncio
import secrets
import subprocess

import aiohttp
import pytest

from dev.testing import Stack
from drivers import DOORKEEPER, DRIVERS, OAUTH2_TOKEN, OAUTH_TOKEN, REFRESHING, RFC6749, Driver
from exchange import PATIENCE, Reply, basic, bearer, post_form, post_json, send, send_raw
from registrations import SCOPED

ME = "/api/v1/users/me"

every_dialect = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
with_refresh_tokens = pytest.mark.parametrize("driver", REFRESHING, ids=lambda driver: driver.name)


@pytest.fixture(scope="module")
async def token(client: aiohttp.ClientSession) -> str:
    return (await RFC6749.log_in(client)).access_token


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [OAUTH_TOKEN, OAUTH2_TOKEN])
async def test_token_endpoint_takes_post_only(client: aiohttp.ClientSession, path: str, method: str) -> None:
    reply = await send(client, method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    if method != "HEAD":
        RFC6749.assert_error(reply, 405, "invalid_request")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW", "post"])
async def test_method_that_is_none(stack: Stack, method: str) -> None:
    request = f"{method} {OAUTH_TOKEN} HTTP/1.1\r\nHost: parley\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert (await send_raw(stack.url, request.encode())).status in (400, 405, 501)


@every_dialect
async def test_unknown_parameters_are_ignored_and_empty_ones_count_as_omitted(
    client: aiohttp.ClientSession, driver: Driver
) -> None:
    changes = {"foo": "bar", "client_assertion": "", "redirect_uri": "https://example.com", "code": ""}
    reply = await post_form(client, driver.path, driver.password_request(**changes))
    assert await driver.accepts(client, driver.tokens(reply).access_token)
    reply = await post_form(client, driver.path, driver.password_request(scope=""))
    assert driver.tokens(reply).access_token


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (None, "read"),
        ("", "read"),
        ("read", "read"),
        ("write", "write"),
        ("write read", "read write"),
        ("read read", "read"),
    ],
)
async def test_scope_that_is_granted_is_said(
    client: aiohttp.ClientSession, registered: None, asked: str | None, granted: str
) -> None:
    reply = await post_form(client, OAUTH_TOKEN, SCOPED.password_request(scope=asked))
    assert reply.json()["scope"] == granted


@pytest.mark.parametrize(
    "scope",
    ["read  write", " read", "read ", "read\twrite", 'read"', "read\\", "lire é", "admin", "read admin", "READ"],
)
async def test_scope_that_is_malformed_or_more_than_the_clients(
    client: aiohttp.ClientSession, registered: None, scope: str
) -> None:
    reply = await post_form(client, OAUTH_TOKEN, SCOPED.password_request(scope=scope))
    RFC6749.assert_error(reply, 400, "invalid_scope")
    reply.assert_silent_about(scope, "admin")


async def test_refresh_narrows_the_scope_and_never_widens_it(client: aiohttp.ClientSession, registered: None) -> None:
    first = (await post_form(client, OAUTH_TOKEN, SCOPED.password_request(scope="read"))).json()
    wider = await SCOPED.refresh(client, first["refresh_token"], scope="read write")
    RFC6749.assert_error(wider, 400, "invalid_scope")

    both = (await post_form(client, OAUTH_TOKEN, SCOPED.password_request(scope="read write"))).json()
    narrow = (await SCOPED.refresh(client, both["refresh_token"], scope="read")).json()
    assert narrow["scope"] == "read"
    identity = (SCOPED.identity["client_id"], SCOPED.identity["client_secret"])
    facts = await post_form(client, "/oauth/introspect", {"token": narrow["access_token"]}, basic(*identity))
    assert (facts.json()["active"], facts.json()["scope"]) == (True, "read")
    restored = (await SCOPED.refresh(client, narrow["refresh_token"])).json()
    assert restored["scope"] == "read write"


@with_refresh_tokens
async def test_lost_answer_to_a_refresh_may_be_asked_for_again(client: aiohttp.ClientSession, driver: Driver) -> None:
    first = await driver.log_in(client)
    replies = [driver.tokens(await driver.refresh(client, first.refresh_token)) for _ in range(3)]
    assert len({tokens.refresh_token for tokens in replies}) == 1
    assert all([await driver.accepts(client, tokens.access_token) for tokens in replies])


@with_refresh_tokens
async def test_spent_refresh_token_ends_the_session(client: aiohttp.ClientSession, driver: Driver) -> None:
    first = await driver.log_in(client)
    second = driver.tokens(await driver.refresh(client, first.refresh_token))
    third = driver.tokens(await driver.refresh(client, second.refresh_token))
    status = 401 if driver is DOORKEEPER else 400
    driver.assert_error(await driver.refresh(client, first.refresh_token), status, "invalid_grant")
    driver.assert_error(await driver.refresh(client, third.refresh_token), status, "invalid_grant")
    assert not await driver.accepts(client, third.access_token)


@with_refresh_tokens
async def test_altered_refresh_token_touches_no_session(client: aiohttp.ClientSession, driver: Driver) -> None:
    text = (await driver.log_in(client)).refresh_token
    assert text
    for position in (0, len(text) // 2, len(text) - 1):
        altered = text[:position] + ("a" if text[position] != "a" else "b") + text[position + 1 :]
        reply = await driver.refresh(client, altered)
        driver.assert_error(reply, 401 if driver is DOORKEEPER else 400, "invalid_grant")
        reply.assert_silent_about(altered)
    assert (await driver.refresh(client, text)).status == driver.status


async def test_nothing_is_stored_and_nothing_named(client: aiohttp.ClientSession, token: str) -> None:
    """Every reply except the public documents says no-store; none names the software that answers."""
    replies: list[Reply] = [
        await send(client, "GET", ME, bearer(token)),
        await send(client, "GET", "/api/v1/sessions", bearer(token)),
        await send(client, "GET", "/api/v1/users", bearer(token)),
        await send(client, "GET", "/api/v1/users/999999999", bearer(token)),
        await send(client, "GET", "/nothing"),
        await send(client, "PUT", ME, bearer(token)),
        await post_json(client, "/api/v1/users", {}),
        await post_form(client, "/oauth/revoke", {**RFC6749.identity, "token": "x"}),
        await post_form(client, "/oauth/introspect", {**RFC6749.identity, "token": "x"}),
        await post_form(client, "/oauth/introspect", {}),
    ]
    assert [reply.status for reply in replies] == [200, 200, 403, 404, 404, 405, 422, 200, 200, 401]
    for reply in replies:
        reply.assert_not_stored()
        assert "Server" not in reply.headers
        assert "charset=utf-8" in reply.content_type


async def test_logs_hold_no_secret(client: aiohttp.ClientSession, stack: Stack) -> None:
    if not stack.has_command_line:
        pytest.skip("the stack under test runs elsewhere, and so do its logs")
    canary, identifier = f"canary-{secrets.token_hex(8)}", secrets.token_hex(16)
    tokens = await RFC6749.log_in(client)
    for reply in (
        await post_json(client, f"{OAUTH_TOKEN}?password={canary}&client_secret={canary}", RFC6749.password_request()),
        await post_json(client, OAUTH_TOKEN, RFC6749.password_request(password=canary)),
        await post_json(client, OAUTH_TOKEN, RFC6749.password_request(client_secret=canary)),
        await post_form(client, OAUTH_TOKEN, RFC6749.login, basic("demo", canary)),
        await RFC6749.refresh(client, canary),
        await send(client, "GET", f"{ME}?access_token={canary}", bearer(canary)),
        await send(client, "GET", f"/{canary}", bearer(canary)),
        await post_json(client, "/api/v1/users", {"user": {"email": canary, "password": canary}}),
        await send(client, "GET", ME, {"X-Request-Id": identifier, **bearer(tokens.access_token)}),
    ):
        reply.assert_silent_about(canary)
    async with asyncio.timeout(PATIENCE):
        while True:
            texts = _logs(stack)
            if all(identifier in texts[name] for name in ("gateway.log", "auth-service.log", "user-service.log")):
                break
            await asyncio.sleep(0.05)
    for text in texts.values():
        assert canary not in text
        assert tokens.access_token not in text
        assert str(tokens.refresh_token) not in text


def _logs(stack: Stack) -> dict[str, str]:
    if stack.data_dir is None:
        logs = [*stack.compose, "logs", "--no-color"]
        services = ("gateway", "auth-service", "user-service", "postgres", "redis")
        return {f"{name}.log": subprocess.check_output([*logs, name], text=True) for name in services}
    files = [*(stack.data_dir / "logs").iterdir(), stack.data_dir / "output"]
    return {file.name: file.read_text() for file in files if file.is_file()}
