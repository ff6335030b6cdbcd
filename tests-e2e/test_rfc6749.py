"""The standard dialect: RFC 6749 grants and errors, RFC 9068 tokens, metadata and keys."""

import re
import time
from typing import Any

import aiohttp
import jwt
import pytest

from dev.testing import Stack
from drivers import OAUTH2_TOKEN, OAUTH_TOKEN, RFC6749
from exchange import Reply, basic, bearer, post_form, post_json, send
from people import Person
from registrations import DISABLED, PUBLIC, SCOPED

CONTENT_TYPE = "application/json; charset=utf-8"
CHALLENGE = 'Basic realm="parley", charset="UTF-8"'
CLIENT = dict(RFC6749.client)
BASIC = basic("demo", "demo-secret")
PASSWORD = {"grant_type": "password", **RFC6749.login}


def assert_tokens(reply: Reply, *more: str) -> dict[str, Any]:
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    reply.assert_not_stored()
    body: dict[str, Any] = reply.json()
    assert list(body) == ["access_token", "token_type", "expires_in", *more]
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    return body


@pytest.mark.parametrize("path", [OAUTH_TOKEN, OAUTH2_TOKEN])
@pytest.mark.parametrize(
    ("headers", "client_members"), [(BASIC, {}), ({}, CLIENT), (BASIC, {"client_id": "demo"})], ids=str
)
@pytest.mark.parametrize("post", [post_form, post_json])
async def test_password_refresh_and_client_credentials(
    client: aiohttp.ClientSession, path: str, headers: dict[str, str], client_members: dict[str, str], post: Any
) -> None:
    first = assert_tokens(await post(client, path, PASSWORD | client_members, headers), "refresh_token")
    members = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]} | client_members
    second = assert_tokens(await post(client, path, members, headers), "refresh_token")
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    assert_tokens(await post(client, path, {"grant_type": "client_credentials"} | client_members, headers))


async def test_public_client_needs_its_id_only(client: aiohttp.ClientSession, registered: None) -> None:
    tokens = await PUBLIC.log_in(client)
    assert_tokens(await PUBLIC.refresh(client, tokens.refresh_token), "refresh_token")


async def test_secret_with_every_special_character(client: aiohttp.ClientSession, registered: None) -> None:
    identity = (SCOPED.identity["client_id"], SCOPED.identity["client_secret"])
    by_basic = await post_form(client, OAUTH_TOKEN, PASSWORD, basic(*identity))
    in_form = await post_form(client, OAUTH_TOKEN, SCOPED.password_request())
    in_json = await post_json(client, OAUTH_TOKEN, SCOPED.password_request())
    for reply in (by_basic, in_form, in_json):
        assert_tokens(reply, "refresh_token", "scope")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"username": None}, "invalid_request"),
        ({"password": ""}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"password": "wrong"}, "invalid_grant"),
        ({"username": "nobody@example.com"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 59}, "invalid_grant"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "PASSWORD"}, "unsupported_grant_type"),
        ({"scope": "read"}, "invalid_scope"),
    ],
)
async def test_errors_of_section_5_2(client: aiohttp.ClientSession, changes: dict[str, Any], code: str) -> None:
    for headers, identity in ((BASIC, {"client_id": None, "client_secret": None}), ({}, {})):
        reply = await post_form(client, OAUTH_TOKEN, RFC6749.password_request(**changes, **identity), headers)
        RFC6749.assert_error(reply, 400, code)
        assert reply.challenge is None


async def test_grant_type_that_is_not_this_clients(client: aiohttp.ClientSession, registered: None) -> None:
    for driver in (SCOPED, PUBLIC):
        reply = await post_form(client, OAUTH_TOKEN, {**driver.client, "grant_type": "client_credentials"})
        RFC6749.assert_error(reply, 400, "unauthorized_client")


async def test_wrong_password_and_unknown_user_have_the_same_answer(client: aiohttp.ClientSession) -> None:
    bodies = set()
    for changes in ({"password": "wrong"}, {"username": "nobody@example.com"}, {"username": "nobody"}):
        bodies.add((await post_form(client, OAUTH_TOKEN, RFC6749.password_request(**changes))).body)
    assert len(bodies) == 1


async def test_client_that_cannot_be_authenticated(client: aiohttp.ClientSession, registered: None) -> None:
    """Unknown, wrong, disabled or unreadable: the answer is the same, so it does not reveal which client_ids exist."""
    disabled = (DISABLED.identity["client_id"], DISABLED.identity["client_secret"])
    replies = [await post_form(client, OAUTH_TOKEN, PASSWORD | DISABLED.client)]
    for client_id, secret in (("demo", "wrong"), ("unknown", "demo-secret"), disabled, ("demo", "")):
        replies.append(await post_form(client, OAUTH_TOKEN, PASSWORD, basic(client_id, secret)))
        members = {"client_id": client_id, "client_secret": secret}
        replies.append(await post_form(client, OAUTH_TOKEN, PASSWORD | members))
    replies += [
        await post_form(client, OAUTH_TOKEN, PASSWORD, {"Authorization": f"Basic {credentials}"})
        for credentials in ("!", "ZGVtbw==", "", "OmRlbW8=", "ZGVtbzpkZW1vLXNlY3JldA", "ZGVtbzolZmY=")
    ]
    for reply in replies:
        RFC6749.assert_error(reply, 401, "invalid_client")
        assert reply.challenge == CHALLENGE
    assert len({reply.body for reply in replies}) == 1


async def test_one_way_of_authentication_at_a_time(client: aiohttp.ClientSession) -> None:
    both = await post_form(client, OAUTH_TOKEN, PASSWORD | CLIENT, BASIC)
    RFC6749.assert_error(both, 400, "invalid_request")
    other = await post_form(client, OAUTH_TOKEN, PASSWORD | {"client_id": "1"}, BASIC)
    assert (other.status, other.json()["error"]) == (400, "invalid_request")


async def test_access_token_follows_rfc_9068(client: aiohttp.ClientSession) -> None:
    metadata = (await send(client, "GET", "/.well-known/oauth-authorization-server")).json()
    for grant in ("password", "client_credentials"):
        body = (await post_form(client, OAUTH_TOKEN, {**PASSWORD, "grant_type": grant}, BASIC)).json()
        header = jwt.get_unverified_header(body["access_token"])
        assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
        keys = (await send(client, "GET", "/.well-known/jwks.json")).json()["keys"]
        (key,) = (key for key in keys if key["kid"] == header["kid"])
        claims = jwt.decode(
            body["access_token"],
            jwt.PyJWK(key),
            algorithms=["ES256"],
            issuer=metadata["issuer"],
            audience=metadata["issuer"],
            options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"]},
        )
        user = (await RFC6749.me(client, body["access_token"])).json()
        assert claims["sub"] == (str(user["id"]) if grant == "password" else "client:demo")
        assert (claims["client_id"], claims["scope"]) == ("demo", "")
        assert claims["exp"] - claims["iat"] == body["expires_in"]
        assert abs(claims["iat"] - time.time()) < 5


async def test_metadata_is_true(client: aiohttp.ClientSession, stack: Stack) -> None:
    reply = await send(client, "GET", "/.well-known/oauth-authorization-server")
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    metadata = reply.json()
    issuer = metadata["issuer"]
    assert issuer == stack.url
    token = (await RFC6749.log_in(client)).access_token
    assert jwt.decode(token, options={"verify_signature": False})["iss"] == issuer
    assert metadata["grant_types_supported"] == ["client_credentials", "password", "refresh_token"]
    assert metadata["response_types_supported"] == []
    methods = {"client_secret_basic", "client_secret_post"}
    assert methods <= set(metadata["token_endpoint_auth_methods_supported"])
    endpoints = {name: metadata[f"{name}_endpoint"] for name in ("token", "revocation", "introspection")}
    for url in endpoints.values():
        assert url.startswith(issuer + "/")
        reply = await post_form(client, url.removeprefix(issuer), {**CLIENT, "token": "unknown"})
        assert reply.status in (200, 400), url
    assert (await send(client, "GET", metadata["jwks_uri"].removeprefix(issuer))).status == 200


async def test_key_set_has_public_parts_of_asymmetric_keys_only(client: aiohttp.ClientSession) -> None:
    reply = await send(client, "GET", "/.well-known/jwks.json")
    assert reply.status == 200
    keys = reply.json()["keys"]
    assert {(key["kty"], key["alg"]) for key in keys} == {("EC", "ES256"), ("RSA", "RS256")}
    assert len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi", "k", "key_ops"}
        assert (key["use"], bool(re.fullmatch(r"[\w-]+", key["kid"]))) == ("sig", True)


async def test_client_credentials_token_is_no_users(client: aiohttp.ClientSession) -> None:
    reply = await post_form(client, OAUTH_TOKEN, {"grant_type": "client_credentials"}, BASIC)
    me = await RFC6749.me(client, reply.json()["access_token"])
    assert (me.status, me.json()["error"]) == (403, "insufficient_scope")


async def test_sessions_list_and_end(client: aiohttp.ClientSession, person: Person) -> None:
    tokens = [(await RFC6749.log_in(client, **person.login)).access_token for _ in range(3)]
    reply = await send(client, "GET", "/api/v1/sessions", bearer(tokens[0]))
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    sessions = reply.json()["sessions"]
    names = ["id", "client_id", "scope", "created_at", "refreshed_at", "expires_at", "current"]
    assert [list(session) for session in sessions] == [names] * 3
    assert [session["current"] for session in sessions].count(True) == 1
    (other,) = (
        s["id"]
        for s in (await send(client, "GET", "/api/v1/sessions", bearer(tokens[1]))).json()["sessions"]
        if s["current"]
    )

    assert (await send(client, "DELETE", f"/api/v1/sessions/{other}", bearer(tokens[0]))).status == 204
    assert [await RFC6749.accepts(client, token) for token in tokens] == [True, False, True]
    assert (await send(client, "DELETE", f"/api/v1/sessions/{other}", bearer(tokens[0]))).status == 404
    assert (await send(client, "DELETE", "/api/v1/sessions/current", bearer(tokens[0]))).status == 204
    assert [await RFC6749.accepts(client, token) for token in tokens] == [False, False, True]
    assert (await send(client, "DELETE", "/api/v1/sessions", bearer(tokens[2]))).status == 204
    assert not await RFC6749.accepts(client, tokens[2])


async def test_session_of_another_user_is_not_found(client: aiohttp.ClientSession, person: Person) -> None:
    mine = (await RFC6749.log_in(client, **person.login)).access_token
    theirs = (await RFC6749.log_in(client)).access_token
    (session,) = (await send(client, "GET", "/api/v1/sessions", bearer(mine))).json()["sessions"]
    reply = await send(client, "DELETE", f"/api/v1/sessions/{session['id']}", bearer(theirs))
    missing = await send(client, "DELETE", "/api/v1/sessions/00000000000000ff", bearer(theirs))
    assert (reply.status, reply.body) == (missing.status, missing.body) == (404, reply.body)
    assert await RFC6749.accepts(client, mine)
