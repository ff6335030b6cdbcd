"""passport.md, request by request, its tokens as its clients read them, and its three languages."""

import json
import re
import time
from typing import Any

import aiohttp
import jwt
import pytest

from drivers import PASSPORT, RFC6749
from exchange import Reply, bearer, post_json, replay, send

LOG_IN = """
POST /oauth/token
Content-Type: application/json

{
  "client_id" : "1",
  "client_secret" : "k8cdDKNruUd0IXbuOUgdoFhCpG",
  "grant_type" : "password",
  "password" : "123456",
  "scope" : "",
  "username" : "usuario@noveltie.com"
}
"""
REFRESH = """
POST /oauth/token
Content-Type: application/json

{
  "client_id" : "1",
  "client_secret" : "k8cdDKNruUd0IXbuOUgdoFhCpG",
  "grant_type" : "refresh_token",
  "scope" : "",
  "refresh_token" : "[..]f79F5rIzqY71LOUistbV1+[..]",
}
"""
WRONG_PASSWORD = LOG_IN.replace("123456", "654321")
SPANISH, ENGLISH, RUSSIAN = (
    "El nombre de usuario o la contraseña son incorrectos.",
    "The user name or the password is incorrect.",
    "Неверное имя пользователя или пароль.",
)


def assert_tokens(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200
    assert reply.content_type.partition(";")[0] == "application/json"
    reply.assert_not_stored()
    body: dict[str, Any] = reply.json()
    assert list(body) == ["token_type", "expires_in", "access_token", "refresh_token"]
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 31536000)
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", body["refresh_token"])
    return body


def with_headers(request: str, headers: dict[str, str]) -> str:
    head, body = request.split("\n\n")
    return "\n".join([head, *(f"{name}: {value}" for name, value in headers.items())]) + "\n\n" + body


async def test_login(client: aiohttp.ClientSession) -> None:
    assert_tokens(await replay(client, LOG_IN))


async def test_refresh_token_without_the_trailing_comma(client: aiohttp.ClientSession) -> None:
    first = assert_tokens(await replay(client, LOG_IN))
    request = REFRESH.replace("[..]f79F5rIzqY71LOUistbV1+[..]", first["refresh_token"]).replace('",\n}', '"\n}')
    second = assert_tokens(await replay(client, request))
    assert second["refresh_token"] != first["refresh_token"]
    assert await PASSPORT.accepts(client, second["access_token"])


async def test_refresh_token_as_the_document_writes_it_is_not_json(client: aiohttp.ClientSession) -> None:
    first = assert_tokens(await replay(client, LOG_IN))
    reply = await replay(client, REFRESH.replace("[..]f79F5rIzqY71LOUistbV1+[..]", first["refresh_token"]))
    RFC6749.assert_error(reply, 400, "invalid_request")
    assert (await PASSPORT.refresh(client, first["refresh_token"])).status == 200


async def test_scope_may_be_left_out(client: aiohttp.ClientSession) -> None:
    assert_tokens(await post_json(client, "/oauth/token", PASSPORT.password_request(scope=None)))


@pytest.mark.parametrize("request_text", [WRONG_PASSWORD, LOG_IN.replace("usuario@", "nadie@")])
async def test_wrong_login_is_answered_in_spanish(client: aiohttp.ClientSession, request_text: str) -> None:
    reply = await replay(client, request_text)
    PASSPORT.assert_error(reply, 401, "invalid_credentials")
    assert reply.json()["message"] == SPANISH


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"language": "en"}, ENGLISH),
        ({"language": "es"}, SPANISH),
        ({"language": "ru"}, RUSSIAN),
        ({"language": "ru-RU"}, RUSSIAN),
        ({"Accept-Language": "en-GB,es;q=0.5"}, ENGLISH),
        ({"Accept-Language": "es;q=0.5, ru;q=0.9"}, RUSSIAN),
        ({"Accept-Language": "de, en;q=0.1"}, ENGLISH),
        ({"Accept-Language": "de"}, SPANISH),
        ({"Accept-Language": "en;q=0"}, SPANISH),
        ({"language": "ru", "Accept-Language": "en"}, RUSSIAN),
        ({"language": "tlh", "Accept-Language": "en"}, ENGLISH),
        ({"language": "${codeLang}"}, SPANISH),
    ],
)
async def test_language_of_the_message(client: aiohttp.ClientSession, headers: dict[str, str], message: str) -> None:
    reply = await replay(client, with_headers(WRONG_PASSWORD, headers))
    PASSPORT.assert_error(reply, 401, "invalid_credentials")
    assert reply.json()["message"] == message


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, 400, "unauthorized_client"),
        ({"grant_type": "implicit"}, 400, "unsupported_grant_type"),
        ({"scope": "everything"}, 400, "invalid_scope"),
        ({"username": ""}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "never-issued"}, 400, "invalid_grant"),
    ],
)
async def test_every_other_error_has_the_two_fields(
    client: aiohttp.ClientSession, changes: dict[str, str], status: int, code: str
) -> None:
    messages = set()
    for language in ("es", "en", "ru"):
        members = PASSPORT.password_request(**changes)
        reply = await post_json(client, "/oauth/token", members, {"language": language})
        PASSPORT.assert_error(reply, status, code)
        messages.add(reply.json()["message"])
    assert len(messages) == 3


async def test_access_token_is_a_jwt_that_the_published_key_verifies(client: aiohttp.ClientSession) -> None:
    body = assert_tokens(await replay(client, LOG_IN))
    token = body["access_token"]
    header = jwt.get_unverified_header(token)
    assert (list(header), header["typ"], header["alg"]) == (["typ", "alg", "kid"], "JWT", "RS256")
    keys = (await send(client, "GET", "/.well-known/jwks.json")).json()["keys"]
    (key,) = (key for key in keys if key["kid"] == header["kid"])
    assert (key["kty"], key["alg"]) == ("RSA", "RS256")
    claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["RS256"], audience="1")

    assert list(claims) == ["aud", "jti", "iat", "nbf", "exp", "sub", "scopes"]
    me = (await PASSPORT.me(client, token)).json()
    assert (claims["aud"], claims["sub"], claims["scopes"]) == ("1", str(me["id"]), [])
    assert type(claims["iat"]) is type(claims["nbf"]) is type(claims["exp"]) is int
    assert claims["iat"] == claims["nbf"]
    assert claims["exp"] - claims["iat"] == body["expires_in"]
    assert abs(claims["iat"] - time.time()) < 5


async def test_protected_request_with_the_documents_headers(client: aiohttp.ClientSession) -> None:
    token = (await PASSPORT.log_in(client)).access_token
    headers = {"Accept": "application/json", "Content-Type": "application/json", "language": "en", **bearer(token)}
    reply = await send(client, "GET", "/api/v1/users/me", headers)
    assert (reply.status, reply.json()["email"]) == (200, "usuario@noveltie.com")


@pytest.mark.parametrize("language", ["es", "en", "ru"])
async def test_refused_token_is_answered_in_the_clients_language(client: aiohttp.ClientSession, language: str) -> None:
    token = (await PASSPORT.log_in(client)).access_token
    altered = token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "B" * 8)
    reply = await send(client, "GET", "/api/v1/users/me", {"language": language, **bearer(altered)})
    PASSPORT.assert_error(reply, 401, "invalid_token")
    assert reply.headers["Content-Language"] == language
    assert json.loads(reply.body)["message"]
