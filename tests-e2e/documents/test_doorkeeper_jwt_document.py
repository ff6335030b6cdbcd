"""doorkeeper-jwt.md, example by example."""

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from drivers import DOORKEEPER_JWT
from exchange import bearer, post_json, replay, send

CONTENT_TYPE = "application/json; charset=utf-8"
TIMESTAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

LOG_IN = """
POST /oauth/token?grant_type=password
Accept: application/json
Content-Type: application/json

{
  "username": "person1@example.com",
  "password": "password",
  "client_id": "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca",
  "client_secret": "fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97"
}
"""
REFRESH = """
POST /oauth/token?grant_type=refresh_token
Accept: application/json
Content-Type: application/json

{
  "refresh_token": "3935f1f93f9f15567c6623bb2ffb31b2",
  "client_id": "0fee4eab40cc183cdaf825b5944d39d459756a1cb8d0def2ce44bd3b207d9737",
  "client_secret": "5b3e5b929c233fe3b27c9e0452b6d2926a449a1699e40ece739f8bc0cab1dd0d"
}
"""
SIGN_UP = """
POST /api/v1/users
Accept: application/json
Content-Type: application/json

{
  "user": {
    "email": "user@example.com",
    "password": "password"
  }
}
"""
FIRST_CLIENT, FIRST_SECRET = DOORKEEPER_JWT.client_id, DOORKEEPER_JWT.identity["client_secret"]
SECOND_CLIENT = "0fee4eab40cc183cdaf825b5944d39d459756a1cb8d0def2ce44bd3b207d9737"
SECOND_SECRET = "5b3e5b929c233fe3b27c9e0452b6d2926a449a1699e40ece739f8bc0cab1dd0d"

FIRST_SAMPLE = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiIsImtpZCI6IjZjYzliNDA1OTgxNWJiNzY3NGU4NjBhOGMzZGM0YzU4YzlkYjYzYWM4OWY0MjBlODg4"
    "ZTRlNjUzYWY0MzA1Y2EifQ.eyJpc3MiOiJyYWlsc19hcGlfdGVtcGxhdGUiLCJpYXQiOjE1MTY3ODc0MDEsImp0aSI6ImI3NDU0Y2U4LTg5ZjQtND"
    "U2Yi04MmI2LTg2MmQ0MDZkYTFjOSIsInVzZXIiOnsiaWQiOjE1NywiZW1haWwiOiJwZXJzb24xQGV4YW1wbGUuY29tIn19.GVGduU-mIOpszF2QEP"
    "RHPNHTc6qLMBQZroXInkSY_tUURRrmkEHo9UsPz_Vj8QKkBL542cCkYDrgdlNYfD6L0g"
)
SECOND_SAMPLE = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiIsImtpZCI6IjBmZWU0ZWFiNDBjYzE4M2NkYWY4MjViNTk0NGQzOWQ0NTk3NTZhMWNiOGQwZGVmMmNl"
    "NDRiZDNiMjA3ZDk3MzcifQ.eyJpc3MiOiJyYWlsc19hcGlfdGVtcGxhdGUiLCJpYXQiOjE1MTY3ODc0MDEsImp0aSI6IjhhMGUxMDlkLTE2MGYtND"
    "BlYy1iMGFkLWE0M2RlMjYyYWQ5NSIsInVzZXIiOnsiaWQiOjE1OCwiZW1haWwiOiJwZXJzb24yQGV4YW1wbGUuY29tIn19.EOtB3m05zWuC4wFjq4"
    "SFO4yJqpoY-aAwAWsRMt2sZZ6cI_MgsZOnvs1DS96T8HYcijCKReXxhWI4g1BTNiSILw"
)


def verified(token: str, secret: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload of an HS512 token, verified as a client of this API does: with its own secret."""
    signed, _, signature = token.rpartition(".")
    digest = hmac.digest(secret.encode(), signed.encode(), hashlib.sha512)
    assert signature == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    return header, payload


def header_of(client_id: str) -> list[tuple[str, str]]:
    return [("typ", "JWT"), ("alg", "HS512"), ("kid", client_id)]


@pytest.mark.parametrize(
    ("token", "client_id", "secret", "user"),
    [
        (FIRST_SAMPLE, FIRST_CLIENT, FIRST_SECRET, {"id": 157, "email": "person1@example.com"}),
        (SECOND_SAMPLE, SECOND_CLIENT, SECOND_SECRET, {"id": 158, "email": "person2@example.com"}),
    ],
)
async def test_sample_tokens_verify_with_the_secrets_beside_them_but_were_not_issued_here(
    client: aiohttp.ClientSession, token: str, client_id: str, secret: str, user: dict[str, Any]
) -> None:
    header, payload = verified(token, secret)
    assert list(header.items()) == header_of(client_id)
    assert list(payload) == ["iss", "iat", "jti", "user"]
    assert payload["user"] == user
    reply = await send(client, "GET", "/api/v1/users/me", bearer(token))
    DOORKEEPER_JWT.assert_error(reply, 401, "invalid_token")


async def test_get_access_token(client: aiohttp.ClientSession) -> None:
    before = int(time.time())
    reply = await replay(client, LOG_IN)
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    reply.assert_not_stored()
    body = reply.json()
    assert list(body) == ["access_token", "token_type", "expires_in", "refresh_token", "created_at", "user_id"]
    assert (body["token_type"], body["expires_in"]) == ("bearer", 7200)
    assert re.fullmatch(r"[0-9a-f]{64}", body["refresh_token"])
    assert type(body["user_id"]) is type(body["created_at"]) is int
    assert before - 1 <= body["created_at"] <= time.time() + 1

    header, payload = verified(body["access_token"], FIRST_SECRET)
    assert list(header.items()) == header_of(FIRST_CLIENT)
    assert list(payload) == ["iss", "iat", "jti", "user"]
    assert payload["iss"] == verified(FIRST_SAMPLE, FIRST_SECRET)[1]["iss"]
    assert payload["iat"] == body["created_at"]
    assert str(uuid.UUID(payload["jti"])) == payload["jti"]
    assert list(payload["user"].items()) == [("id", body["user_id"]), ("email", "person1@example.com")]


async def test_refresh_access_token(client: aiohttp.ClientSession) -> None:
    second = {"client_id": SECOND_CLIENT, "client_secret": SECOND_SECRET}
    logged_in = await DOORKEEPER_JWT.log_in(client, **second)
    assert logged_in.refresh_token
    reply = await replay(client, REFRESH.replace("3935f1f93f9f15567c6623bb2ffb31b2", logged_in.refresh_token))
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    reply.assert_not_stored()
    body = reply.json()
    assert list(body) == ["access_token", "token_type", "expires_in", "refresh_token", "created_at", "user_id"]
    assert (body["token_type"], body["expires_in"]) == ("bearer", 7200)
    assert re.fullmatch(r"[0-9a-f]{64}", body["refresh_token"])
    assert body["refresh_token"] != logged_in.refresh_token
    header, payload = verified(body["access_token"], SECOND_SECRET)
    assert list(header.items()) == header_of(SECOND_CLIENT)
    assert payload["user"] == {"id": body["user_id"], "email": "person1@example.com"}
    assert payload["jti"] != verified(logged_in.access_token, SECOND_SECRET)[1]["jti"]
    assert await DOORKEEPER_JWT.accepts(client, body["access_token"])


async def test_refresh_example_as_it_stands_names_a_token_that_was_never_issued(client: aiohttp.ClientSession) -> None:
    DOORKEEPER_JWT.assert_error(await replay(client, REFRESH), 400, "invalid_grant")


async def test_wrong_password_is_an_invalid_grant(client: aiohttp.ClientSession) -> None:
    reply = await replay(client, LOG_IN.replace('"password": "password"', '"password": "Password"'))
    DOORKEEPER_JWT.assert_error(reply, 400, "invalid_grant")


async def test_token_that_a_client_forged_with_its_own_secret_is_refused(client: aiohttp.ClientSession) -> None:
    issued = (await DOORKEEPER_JWT.log_in(client)).access_token
    header, payload = issued.split(".")[:2]
    other = json.loads(base64.urlsafe_b64decode(payload + "==")) | {"user": {"id": 5, "email": "admin@example.com"}}
    signed = f"{header}.{base64.urlsafe_b64encode(json.dumps(other).encode()).decode().rstrip('=')}"
    digest = hmac.digest(FIRST_SECRET.encode(), signed.encode(), hashlib.sha512)
    forged = f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    assert verified(forged, FIRST_SECRET)[1] == other
    assert await DOORKEEPER_JWT.accepts(client, issued)
    assert not await DOORKEEPER_JWT.accepts(client, forged)


@pytest.fixture
async def signed_up(client: aiohttp.ClientSession, admin_token: str) -> AsyncIterator[dict[str, Any]]:
    """The answer to the sign-up example; the user is deleted after the test."""
    reply = await replay(client, SIGN_UP)
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE), reply
    yield reply.json()
    await send(client, "DELETE", f"/api/v1/users/{reply.json()['id']}", bearer(admin_token))


async def test_create_a_user(client: aiohttp.ClientSession, signed_up: dict[str, Any]) -> None:
    assert list(signed_up) == ["id", "email", "created_at", "updated_at", "role"]
    assert type(signed_up["id"]) is int
    assert (signed_up["email"], signed_up["role"]) == ("user@example.com", "default")
    assert TIMESTAMP.fullmatch(signed_up["created_at"])
    assert signed_up["updated_at"] == signed_up["created_at"]
    assert (await replay(client, SIGN_UP)).status == 409


async def test_get_a_user(client: aiohttp.ClientSession, signed_up: dict[str, Any]) -> None:
    token = (await DOORKEEPER_JWT.log_in(client, username="user@example.com")).access_token
    headers = {"Accept": "application/json", "Content-Type": "application/json", **bearer(token)}
    reply = await send(client, "GET", f"/api/v1/users/{signed_up['id']}?null=", headers)
    assert (reply.status, reply.content_type) == (200, CONTENT_TYPE)
    assert list(reply.json().items()) == list(signed_up.items())


async def test_get_a_user_without_a_token(client: aiohttp.ClientSession) -> None:
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    reply = await send(client, "GET", "/api/v1/users/160?null=", headers)
    assert (reply.status, reply.challenge) == (401, 'Bearer realm="parley"')


async def test_parameters_may_all_stand_in_the_body(client: aiohttp.ClientSession) -> None:
    reply = await post_json(client, "/oauth/token", DOORKEEPER_JWT.password_request())
    assert "user_id" in reply.names()
