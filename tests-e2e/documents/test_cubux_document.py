"""cubux.md, example by example, and the requests that its two scopes allow."""

import re
import secrets
from typing import Any

import aiohttp
import pytest

from drivers import CUBUX, RFC6749
from exchange import Reply, bearer, post_json, replay, send
from people import Person

CONTENT_TYPE = "application/json; charset=UTF-8"
SCOPE_NEEDED = 'Bearer realm="parley", error="insufficient_scope", scope="UserActivity"'

FOR_SIGN_UP = """
POST /oauth2/token HTTP/1.1
Host: www.cubux.net
Content-Type: application/json; charset=UTF-8

{
    "client_id":     "MY_CLIENT_ID",
    "grant_type":    "client_credentials",
    "client_secret": "MY_CLIENT_SECRET",
    "scope":         "SignUp"
}
"""
FOR_A_USER = """
POST /oauth2/token HTTP/1.1
Host: www.cubux.net
Content-Type: application/json; charset=UTF-8

{
    "client_id":  "MY_CLIENT_ID",
    "grant_type": "password",
    "username":   "User name",
    "password":   "password",
    "scope":      "UserActivity"
}
"""


def assert_tokens(reply: Reply, scope: str, *more: str) -> dict[str, Any]:
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    reply.assert_not_stored()
    body: dict[str, Any] = reply.json()
    assert list(body) == ["access_token", "expires_in", "token_type", "scope", *more]
    assert (body["expires_in"], body["token_type"], body["scope"]) == (86400, "Bearer", scope)
    assert re.fullmatch(r"[0-9a-f]{40}", body["access_token"])
    assert all(len(body[name]) == 40 for name in more)
    return body


@pytest.fixture
async def sign_up_token(client: aiohttp.ClientSession) -> str:
    token: str = (await replay(client, FOR_SIGN_UP)).json()["access_token"]
    return token


async def test_access_token_for_signing_a_user_up(client: aiohttp.ClientSession) -> None:
    assert_tokens(await replay(client, FOR_SIGN_UP), "SignUp")


async def test_access_token_for_a_user(client: aiohttp.ClientSession) -> None:
    body = assert_tokens(await replay(client, FOR_A_USER), "UserActivity", "refresh_token")
    reply = await CUBUX.me(client, body["access_token"])
    assert (reply.status, reply.json()["username"]) == (200, "User name")


async def test_refresh_token_works_at_the_same_path(client: aiohttp.ClientSession) -> None:
    first = assert_tokens(await replay(client, FOR_A_USER), "UserActivity", "refresh_token")
    reply = await CUBUX.refresh(client, first["refresh_token"])
    second = assert_tokens(reply, "UserActivity", "refresh_token")
    assert second["refresh_token"] != first["refresh_token"]
    assert await CUBUX.accepts(client, second["access_token"])


@pytest.mark.parametrize("name", ["client_id", "grant_type"])
async def test_required_parameter_is_required(client: aiohttp.ClientSession, name: str) -> None:
    reply = await post_json(client, CUBUX.path, CUBUX.password_request(**{name: None}))
    if name == "client_id":  # this path has no default client
        RFC6749.assert_error(reply, 401, "invalid_client")
    else:
        CUBUX.assert_error(reply, 400, "invalid_request")


@pytest.mark.parametrize("secret", ["", '"client_secret": "wrong",'])
async def test_client_credentials_need_the_secret(client: aiohttp.ClientSession, secret: str) -> None:
    request = FOR_SIGN_UP.replace('"client_secret": "MY_CLIENT_SECRET",', secret)
    assert request != FOR_SIGN_UP
    CUBUX.assert_error(await replay(client, request), 401, "invalid_client")


async def test_secret_that_is_not_needed_must_still_be_right(client: aiohttp.ClientSession) -> None:
    wrong = await post_json(client, CUBUX.path, CUBUX.password_request(client_secret="wrong"))
    CUBUX.assert_error(wrong, 401, "invalid_client")
    assert (await CUBUX.log_in(client, client_secret="MY_CLIENT_SECRET")).refresh_token


async def test_wrong_password_is_an_invalid_grant(client: aiohttp.ClientSession) -> None:
    reply = await replay(client, FOR_A_USER.replace('"password":   "password"', '"password":   "wrong"'))
    CUBUX.assert_error(reply, 400, "invalid_grant")


async def test_sign_up_token_creates_a_user(
    client: aiohttp.ClientSession, sign_up_token: str, admin_token: str
) -> None:
    email = f"{secrets.token_hex(8)}@example.com"
    members = {"user": {"email": email, "password": "a long enough password"}}
    reply = await post_json(client, "/api/v1/users", members, bearer(sign_up_token))
    assert (reply.status, reply.json()["email"]) == (200, email)
    await send(client, "DELETE", f"/api/v1/users/{reply.json()['id']}", bearer(admin_token))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/users", None),
        ("GET", "/api/v1/users/me", None),
        ("GET", "/api/v1/users/{id}", None),
        ("PATCH", "/api/v1/users/{id}", {"user": {"username": "changed"}}),
        ("DELETE", "/api/v1/users/{id}", None),
        ("POST", "/api/v1/users/{id}/password", {"current_password": "a long enough password", "password": "changed!"}),
        ("GET", "/api/v1/sessions", None),
        ("DELETE", "/api/v1/sessions", None),
        ("DELETE", "/api/v1/sessions/current", None),
    ],
)
async def test_sign_up_token_does_nothing_else(
    client: aiohttp.ClientSession,
    person: Person,
    sign_up_token: str,
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    target = path.format(id=person.id)
    if body is None:
        reply = await send(client, method, target, bearer(sign_up_token))
    else:
        reply = await post_json(client, target, body, bearer(sign_up_token), method=method)
    assert (reply.status, reply.challenge) == (403, SCOPE_NEEDED)
    assert reply.json()["error"] == "insufficient_scope"
    assert (await RFC6749.log_in(client, **person.login)).access_token


async def test_user_token_without_the_scope_does_not_act_as_the_user(client: aiohttp.ClientSession) -> None:
    token = (await CUBUX.log_in(client, scope="SignUp")).access_token
    reply = await CUBUX.me(client, token)
    assert (reply.status, reply.challenge) == (403, SCOPE_NEEDED)


@pytest.mark.parametrize("scope", ["Everything", "SignUp Everything", "SignUp  UserActivity", 'Sign"Up'])
async def test_scope_that_the_client_does_not_have(client: aiohttp.ClientSession, scope: str) -> None:
    reply = await replay(client, FOR_SIGN_UP.replace('"SignUp"', '"' + scope.replace('"', '\\"') + '"'))
    CUBUX.assert_error(reply, 400, "invalid_scope")


async def test_scope_that_is_not_asked_for_is_the_clients_default(client: aiohttp.ClientSession) -> None:
    request = FOR_SIGN_UP.replace('"scope":         "SignUp"', '"scope": ""')
    assert_tokens(await replay(client, request), "SignUp UserActivity")
