"""bongo.md: the token, its verification, and the two literal errors."""

import re
from datetime import UTC, datetime
from typing import Any

import aiohttp
import jwt
import pytest

from drivers import BONGO, RFC6749
from exchange import Reply, bearer, post_form, post_json, replay, send

CREATE = """
POST /api/oauth/access-token/v1/
Content-Type: application/json

{"grant_type": "password", "phone_number": "+8801700000000", "password": "password"}
"""
WRONG_PASSWORD = {
    "message": "Wrong password",
    "display_message": "Wrong password",
    "status": 401,
    "error": "unauthorized",
    "causes": None,
}
DATE = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def verification_of(user_id: object) -> str:
    return f"/api/oauth/{user_id}/verify-token/v1/"


def assert_unauthorized(reply: Reply) -> str:
    """Check that the reply is a 401 with the five fields; returns its message."""
    assert (reply.status, reply.content_type) == (401, "application/json")
    body = reply.json()
    assert list(body) == list(WRONG_PASSWORD)
    assert (body["status"], body["error"], body["causes"]) == (401, "unauthorized", None)
    assert body["message"] == body["display_message"]
    assert str(body["message"])
    return str(body["message"])


@pytest.fixture
async def result(client: aiohttp.ClientSession) -> dict[str, Any]:
    """The `result` of a new token."""
    members: dict[str, Any] = (await replay(client, CREATE)).json()["result"]
    return members


async def test_create_a_token(client: aiohttp.ClientSession) -> None:
    reply = await replay(client, CREATE)
    assert (reply.status, reply.content_type) == (201, "application/json")
    reply.assert_not_stored()
    body = reply.json()
    assert list(body) == ["message", "result", "status"]
    assert (body["message"], body["status"]) == ("Token created successfully", 201)
    result = body["result"]
    assert list(result) == ["access_token", "user_id", "date_created"]
    assert type(result["user_id"]) is int
    assert DATE.fullmatch(result["date_created"])
    created = datetime.fromisoformat(result["date_created"])
    assert abs((datetime.now(UTC) - created).total_seconds()) < 5


async def test_token_has_the_documents_header(client: aiohttp.ClientSession, result: dict[str, Any]) -> None:
    assert result["access_token"].startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")
    claims = jwt.decode(result["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 86400
    reply = await BONGO.me(client, result["access_token"])
    assert (reply.json()["id"], reply.json()["phone_number"]) == (result["user_id"], "+8801700000000")


@pytest.mark.parametrize("number", ["+8801700000000", "8801700000000", "+880 1700-000000", "+880 (1700) 000 000"])
async def test_phone_number_is_compared_in_e164(client: aiohttp.ClientSession, number: str) -> None:
    assert (await BONGO.log_in(client, phone_number=number)).access_token


async def test_create_a_token_with_a_form(client: aiohttp.ClientSession) -> None:
    assert (await post_form(client, BONGO.path, BONGO.password_request())).status == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "wrong"},
        {"phone_number": "+8801700000009"},
        {"phone_number": "person1@example.com"},
        {"phone_number": "not a phone number"},
    ],
)
async def test_wrong_password_and_unknown_number_have_the_same_answer(
    client: aiohttp.ClientSession, changes: dict[str, str]
) -> None:
    reply = await post_json(client, BONGO.path, BONGO.password_request(**changes))
    assert (reply.status, reply.content_type) == (401, "application/json")
    reply.assert_not_stored()
    assert list(reply.json().items()) == list(WRONG_PASSWORD.items())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"phone_number": None}, "invalid_request"),
        ({"password": None}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "unauthorized_client"),
        ({"grant_type": "client_credentials"}, "unauthorized_client"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
    ],
)
async def test_every_other_error_has_the_five_fields(
    client: aiohttp.ClientSession, changes: dict[str, str], code: str
) -> None:
    BONGO.assert_error(await post_json(client, BONGO.path, BONGO.password_request(**changes)), 400, code)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_any_other_method_has_a_page_without_content(client: aiohttp.ClientSession, method: str) -> None:
    reply = await send(client, method, BONGO.path)
    assert (reply.status, reply.content_type) == (405, "text/html;charset=utf-8")
    assert (reply.body, reply.headers["Allow"]) == (b"", "POST")


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_any_other_method_of_the_verification(client: aiohttp.ClientSession, method: str) -> None:
    reply = await send(client, method, verification_of(1))
    assert (reply.status, reply.content_type) == (405, "text/html;charset=utf-8")
    assert (reply.body, reply.headers["Allow"]) == (b"", "GET, POST")


def assert_verified(reply: Reply, result: dict[str, Any]) -> None:
    assert (reply.status, reply.content_type) == (200, "application/json")
    reply.assert_not_stored()
    body = reply.json()
    assert list(body) == ["result", "status"]
    assert body["status"] == 200
    assert list(body["result"].items()) == list(result.items())


async def test_verify_a_token(client: aiohttp.ClientSession, result: dict[str, Any]) -> None:
    reply = await send(client, "GET", verification_of(result["user_id"]), bearer(result["access_token"]))
    assert_verified(reply, result)


async def test_verify_a_token_that_is_posted(client: aiohttp.ClientSession, result: dict[str, Any]) -> None:
    path = verification_of(result["user_id"])
    assert_verified(await post_json(client, path, {"access_token": result["access_token"]}), result)


async def test_token_of_another_user(client: aiohttp.ClientSession, result: dict[str, Any]) -> None:
    for user_id in (result["user_id"] + 1, 0, 10**18):
        path = verification_of(user_id)
        in_header = await send(client, "GET", path, bearer(result["access_token"]))
        posted = await post_json(client, path, {"access_token": result["access_token"]})
        assert assert_unauthorized(in_header) == assert_unauthorized(posted)
        assert "another user" in assert_unauthorized(posted)


async def test_bad_token(client: aiohttp.ClientSession, result: dict[str, Any]) -> None:
    path = verification_of(result["user_id"])
    token = result["access_token"]
    altered = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    same_user = {"username": BONGO.login["phone_number"]}
    foreign = (await RFC6749.log_in(client, **same_user)).access_token
    for bad in (altered, "garbage", foreign):
        assert_unauthorized(await send(client, "GET", path, bearer(bad)))
        assert_unauthorized(await post_json(client, path, {"access_token": bad}))


async def test_no_token(client: aiohttp.ClientSession) -> None:
    reply = await send(client, "GET", verification_of(1))
    assert_unauthorized(reply)
    assert reply.challenge == 'Bearer realm="parley"'
    basic = await send(client, "GET", verification_of(1), {"Authorization": "Basic Og=="})
    assert_unauthorized(basic)


async def test_revoked_token_does_not_verify(client: aiohttp.ClientSession, result: dict[str, Any]) -> None:
    token = result["access_token"]
    path = verification_of(result["user_id"])
    assert (await send(client, "GET", path, bearer(token))).status == 200
    assert (await post_form(client, "/oauth/revoke", {**BONGO.identity, "token": token})).status == 200
    assert_unauthorized(await send(client, "GET", path, bearer(token)))
