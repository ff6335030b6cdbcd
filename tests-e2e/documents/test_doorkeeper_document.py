"""doorkeeper.md, request by request; everything except the token request is in MessagePack there."""

import asyncio
import json
import re
import time
from typing import Any

import aiohttp
import msgpack
import pytest

from drivers import DOORKEEPER
from exchange import FORM, JSON, PATIENCE, Reply, bearer, post_form, replay, send
from people import Person
from registrations import BRIEF

MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack")
CONTENT_TYPE = "application/json; charset=utf-8"

LOG_IN = """
POST /oauth/token
Content-Type: application/json

{"login": "person1@example.com", "password": "password", "grant_type": "password"}
"""
REFRESH = """
POST /oauth/token
Content-Type: application/json

{"refresh_token": "6f3a305cc95de8db21d923f3c51e05a312f6cb822f598hb74", "grant_type": "refresh_token"}
"""
REFUSED = {
    "error": "invalid_grant",
    "error_message": "The provided authorization grant is invalid, expired, revoked, does not match the redirection "
    "URI used in the authorization request, or was issued to another client.",
}
INVALID = {"error": "The access token is invalid"}
EXPIRED = {"error": "The access token expired"}
UNKNOWN_TOKEN = "6f3a305cc95de8db21d923f3c51e05a312f6cb822f50f2e3b9aaccdae16a49be"


def assert_tokens(reply: Reply) -> dict[str, Any]:
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    reply.assert_not_stored()
    body: dict[str, Any] = reply.json()
    assert list(body) == ["access_token", "token_type", "expires_in", "refresh_token", "created_at"]
    assert (body["token_type"], body["expires_in"]) == ("bearer", 7200)
    assert re.fullmatch(r"[0-9a-f]{64}", body["access_token"])
    assert re.fullmatch(r"[0-9a-f]{64}", body["refresh_token"])
    assert type(body["created_at"]) is int
    assert abs(body["created_at"] - time.time()) < 5
    return body


def unpacked(reply: Reply, media_type: str) -> Any:
    assert reply.content_type == media_type
    return msgpack.unpackb(reply.body)


async def test_create_an_access_token(client: aiohttp.ClientSession) -> None:
    assert_tokens(await replay(client, LOG_IN))


async def test_create_an_access_token_with_a_form(client: aiohttp.ClientSession) -> None:
    assert_tokens(await post_form(client, "/oauth/token", DOORKEEPER.password_request()))


async def test_refresh_a_token(client: aiohttp.ClientSession) -> None:
    first = assert_tokens(await replay(client, LOG_IN))
    given = first["refresh_token"]
    reply = await replay(client, REFRESH.replace("6f3a305cc95de8db21d923f3c51e05a312f6cb822f598hb74", given))
    second = assert_tokens(reply)
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != given
    assert await DOORKEEPER.accepts(client, second["access_token"])


@pytest.mark.parametrize(
    "request_text",
    [
        LOG_IN.replace('"password": "password"', '"password": "wrong"'),
        LOG_IN.replace("person1@example.com", "nobody@example.com"),
        REFRESH,
        REFRESH.replace("598hb74", "5980b74" + 15 * "0"),
    ],
    ids=["wrong password", "unknown login", "refresh token of another form", "refresh token never issued"],
)
async def test_refusal_has_the_documents_words(client: aiohttp.ClientSession, request_text: str) -> None:
    reply = await replay(client, request_text)
    assert (reply.status, reply.content_type) == (401, CONTENT_TYPE)
    reply.assert_not_stored()
    assert list(reply.json().items()) == list(REFUSED.items())


async def test_token_that_was_never_issued_is_invalid(client: aiohttp.ClientSession) -> None:
    reply = await send(client, "GET", "/api/v1/users/me", {"Authorization": f"bearer {UNKNOWN_TOKEN}"})
    assert (reply.status, reply.json(), reply.content_type) == (401, INVALID, CONTENT_TYPE)


@pytest.mark.parametrize("token", [UNKNOWN_TOKEN, "of-no-form-of-ours"])
@pytest.mark.parametrize("media_type", MSGPACK_TYPES)
async def test_refused_token_is_answered_in_messagepack(
    client: aiohttp.ClientSession, media_type: str, token: str
) -> None:
    reply = await send(client, "GET", "/api/v1/users/me", {"Accept": media_type, **bearer(token)})
    assert reply.status == 401
    assert unpacked(reply, media_type) == INVALID


@pytest.mark.usefixtures("registered")
async def test_token_that_has_run_out_is_told_apart(client: aiohttp.ClientSession) -> None:
    token = (await BRIEF.log_in(client)).access_token
    async with asyncio.timeout(PATIENCE):
        while True:
            reply = await BRIEF.me(client, token)
            if reply.status != 200:
                break
            await asyncio.sleep(0.05)
    assert (reply.status, reply.json()) == (401, EXPIRED)
    reply = await send(client, "GET", "/api/v1/users/me", {"Accept": "application/msgpack", **bearer(token)})
    assert (reply.status, unpacked(reply, "application/msgpack")) == (401, EXPIRED)


@pytest.mark.parametrize("media_type", MSGPACK_TYPES)
async def test_user_api_answers_in_messagepack(client: aiohttp.ClientSession, media_type: str) -> None:
    token = (await DOORKEEPER.log_in(client)).access_token
    in_json = await send(client, "GET", "/api/v1/users/me", {"Accept": JSON, "Authorization": f"bearer {token}"})
    reply = await send(client, "GET", "/api/v1/users/me", {"Accept": media_type, "Authorization": f"bearer {token}"})
    assert (in_json.status, reply.status) == (200, 200)
    assert list(unpacked(reply, media_type).items()) == list(in_json.json().items())
    sessions = await send(client, "GET", "/api/v1/sessions", {"Accept": media_type, **bearer(token)})
    assert [item for item in unpacked(sessions, media_type)["sessions"] if item["current"]]


@pytest.mark.parametrize("media_type", MSGPACK_TYPES)
async def test_user_api_reads_messagepack(client: aiohttp.ClientSession, person: Person, media_type: str) -> None:
    token = (await DOORKEEPER.log_in(client, login=person.email, password=person.password)).access_token
    headers = {"Content-Type": media_type, "Accept": media_type, **bearer(token)}
    name = f"in {media_type} {person.id}"
    body = msgpack.packb({"user": {"username": name}})
    reply = await send(client, "PATCH", f"/api/v1/users/{person.id}", headers, body)
    assert reply.status == 200
    assert unpacked(reply, media_type)["username"] == name
    refused = await send(client, "PATCH", f"/api/v1/users/{person.id}", headers, msgpack.packb({"user": {"role": 1}}))
    assert refused.status == 422
    assert unpacked(refused, media_type)["errors"][0]["field"] == "user.role"


async def test_token_request_is_json_whatever_is_accepted(client: aiohttp.ClientSession) -> None:
    headers = {"Accept": "application/msgpack", "Content-Type": JSON}
    assert_tokens(await send(client, "POST", "/oauth/token", headers, json.dumps(DOORKEEPER.password_request())))


async def test_token_request_is_not_read_from_messagepack(client: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/msgpack"}
    reply = await send(client, "POST", "/oauth/token", headers, msgpack.packb(DOORKEEPER.password_request()))
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    assert reply.content_type != FORM
