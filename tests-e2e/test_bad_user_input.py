"""Bad requests to the user API and the sessions: fields, MessagePack, ids, queries, and fields that nobody may set."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgpack
import pytest

from dev.testing import Stack
from drivers import RFC6749, assert_problem
from exchange import JSON, Reply, bearer, post_json, send, send_raw
from faults import DEPTH, LIMIT, MARKER
from people import Administrator, Person, signed_up

MSGPACK = "application/msgpack"
SIGN_UP = {"email": "new@example.com", "password": "a long enough password"}

BAD_IDS = [
    "abc",
    "1.5",
    "-1",
    "0x1",
    "1e3",
    "%31%2f",
    "1%00",
    "%ff",
    "%F0%9F%98%80",
    "9" * 20,
    "1;x",
    "..%2f1",
    "me%20",
]


@pytest.fixture(scope="module")
async def person(client: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[Person]:
    async with signed_up(client, administrator) as person:
        yield person


@pytest.fixture(scope="module")
async def token(client: aiohttp.ClientSession, person: Person) -> str:
    return (await RFC6749.log_in(client, **person.login)).access_token


@pytest.fixture(autouse=True)
async def nothing_written(client: aiohttp.ClientSession, admin_token: str, person: Person) -> AsyncIterator[None]:
    """Check that no request adds or changes a user."""
    path = f"/api/v1/users?after={person.id - 1}"
    before = await send(client, "GET", path, bearer(admin_token))
    assert [user["id"] for user in before.json()["users"]] == [person.id]
    yield
    after = await send(client, "GET", path, bearer(admin_token))
    assert after.body == before.body


def assert_field_refused(reply: Reply, field: str) -> None:
    members = assert_problem(reply, 422)
    assert [fault["field"] for fault in members["errors"]] == [field]
    assert members["errors"][0]["message"]
    reply.assert_silent_about(MARKER)


@pytest.mark.parametrize(
    "name",
    ["role", "id", "is_admin", "created_at", "updated_at", "password_hash", "epoch", "disabled", "email_verified"],
)
async def test_nobody_sets_this_when_signing_up(client: aiohttp.ClientSession, name: str) -> None:
    reply = await post_json(client, "/api/v1/users", {"user": {**SIGN_UP, name: "admin"}})
    assert_field_refused(reply, f"user.{name}")


@pytest.mark.parametrize(
    "body",
    [
        '{"user": {"email": "new@example.com", "password": "long enough", "role": "default", "role": "admin"}}',
        '{"user": {"email": "new@example.com", "password": "long enough"}, "user": {"role": "admin"}}',
    ],
)
async def test_role_is_not_smuggled_in_by_a_second_name(client: aiohttp.ClientSession, body: str) -> None:
    assert_problem(await send(client, "POST", "/api/v1/users", {"Content-Type": JSON}, body), 400)


@pytest.mark.parametrize("where", [{"role": "admin"}, {MARKER: MARKER}, {"Role": "admin"}])
async def test_unknown_member_beside_the_user(client: aiohttp.ClientSession, where: dict[str, Any]) -> None:
    reply = await post_json(client, "/api/v1/users", {"user": SIGN_UP, **where})
    assert_problem(reply, 422)
    reply.assert_silent_about(MARKER)


@pytest.mark.parametrize("name", ["email", "username", "phone_number", "password"])
@pytest.mark.parametrize("bad", ["\0", "\ud800", "\udc00\ud800"], ids=["NUL", "surrogate", "surrogates in reverse"])
async def test_text_that_no_database_holds(client: aiohttp.ClientSession, name: str, bad: str) -> None:
    reply = await post_json(client, "/api/v1/users", {"user": {**SIGN_UP, name: f"{MARKER}{bad}"}})
    assert_field_refused(reply, f"user.{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", MARKER),
        ("email", f"{MARKER}@"),
        ("email", f"a@{MARKER}@example.com"),
        ("email", "x" * 250 + "@example.com"),
        ("email", ""),
        ("username", ""),
        ("username", f"{MARKER}@example.com"),
        ("username", f"+{MARKER}"),
        ("username", "x" * 1000),
        ("username", f"{MARKER}\u202e"),
        ("phone_number", MARKER),
        ("phone_number", "+1"),
        ("phone_number", "+12345678901234567"),
        ("password", "12345"),
        ("password", "x" * 10_000),
        ("password", 123456789),
        ("password", None),
    ],
)
async def test_value_that_is_not_accepted(client: aiohttp.ClientSession, name: str, value: Any) -> None:
    assert_field_refused(await post_json(client, "/api/v1/users", {"user": {**SIGN_UP, name: value}}), f"user.{name}")


@pytest.mark.parametrize("body", [{}, {"user": None}, {"user": []}, {"user": MARKER}, {"user": {}}, SIGN_UP])
async def test_sign_up_without_a_user(client: aiohttp.ClientSession, body: Any) -> None:
    reply = await post_json(client, "/api/v1/users", body)
    assert assert_problem(reply, 422)["errors"]
    reply.assert_silent_about(MARKER)


async def test_sign_up_without_a_login_name(client: aiohttp.ClientSession) -> None:
    reply = await post_json(client, "/api/v1/users", {"user": {"password": SIGN_UP["password"]}})
    assert assert_problem(reply, 422)["errors"]


async def test_taken_login_name(client: aiohttp.ClientSession) -> None:
    for email in ("person1@example.com", "Person1@EXAMPLE.com"):
        reply = await post_json(client, "/api/v1/users", {"user": {**SIGN_UP, "email": email}})
        assert [fault["field"] for fault in assert_problem(reply, 409)["errors"]] == ["user.email"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"\xc1", 400),
        (b"\x81", 400),
        (msgpack.packb([1]), 400),
        (msgpack.packb({"user": SIGN_UP}) + b"\x00", 400),
        (b"\x82" + msgpack.packb("user") + b"\xc0" + msgpack.packb("user") + msgpack.packb(SIGN_UP), 400),
        (b"\x81\x01" + msgpack.packb(SIGN_UP), 400),
        (b"\x81" + msgpack.packb("user") + b"\x91" * DEPTH + b"\xc0", 400),
        (b"\x81" + msgpack.packb("user") + b"\xdd\xff\xff\xff\xff", 400),
        (b"\x81" + msgpack.packb("user") + b"\xa2\xff\xfe", 400),
        (msgpack.packb({"user": {**SIGN_UP, "email": b"new@example.com"}}), 422),
        (msgpack.packb({"user": {**SIGN_UP, "username": "a\0b"}}), 422),
        (msgpack.packb({"user": msgpack.ExtType(5, b"x")}), 422),
        (msgpack.packb({"user": msgpack.Timestamp(0, 0)}), 422),
        (msgpack.packb({"user": {**SIGN_UP, "role": "admin"}}), 422),
        (msgpack.packb({"user": {**SIGN_UP, "username": "x" * LIMIT}}), 413),
    ],
)
async def test_bad_messagepack(client: aiohttp.ClientSession, raw: bytes, status: int) -> None:
    reply = await send(client, "POST", "/api/v1/users", {"Content-Type": MSGPACK, "Accept": MSGPACK}, raw)
    assert (reply.status, reply.content_type) == (status, MSGPACK)
    assert list(msgpack.unpackb(reply.body))[:3] == ["type", "title", "status"]


@pytest.mark.parametrize("path", ["/api/v1/users/{}", "/api/v1/sessions/{}", "/api/oauth/{}/verify-token/v1/"])
@pytest.mark.parametrize("bad_id", BAD_IDS)
async def test_id_that_is_no_id(stack: Stack, token: str, path: str, bad_id: str) -> None:
    request = (
        f"DELETE {path.format(bad_id)} HTTP/1.1\r\nHost: parley\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    for method in ("DELETE", "GET"):
        reply = await send_raw(stack.url, request.replace("DELETE", method).encode())
        assert reply.status in (400, 404)
        assert assert_problem(reply, reply.status)["error"] in ("invalid_request", "not_found")
        assert bad_id.encode() not in reply.body


@pytest.mark.parametrize("user_id", ["0", "00", "007", "9" * 19, "2147483648", "9223372036854775807"])
async def test_id_of_nobody(client: aiohttp.ClientSession, token: str, user_id: str) -> None:
    for reply in (
        await send(client, "GET", f"/api/v1/users/{user_id}", bearer(token)),
        await send(client, "DELETE", f"/api/v1/users/{user_id}", bearer(token)),
        await post_json(client, f"/api/v1/users/{user_id}", {"user": {"username": "x"}}, bearer(token), method="PATCH"),
    ):
        assert_problem(reply, 404)


@pytest.mark.parametrize("session", ["0" * 16, "f" * 16, "7" + "f" * 15])
async def test_session_of_nobody(client: aiohttp.ClientSession, token: str, session: str) -> None:
    assert_problem(await send(client, "DELETE", f"/api/v1/sessions/{session}", bearer(token)), 404)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=abc", "after"),
        ("after=-1", "after"),
        ("after=", "after"),
        ("after=1&after=2", "after"),
        (f"after={'9' * 30}", "after"),
        ("after=%ff", "after"),
        ("after=1%00", "after"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1;DROP", "limit"),
        ("limit=1&limit=1", "limit"),
    ],
)
async def test_bad_page(client: aiohttp.ClientSession, admin_token: str, query: str, field: str) -> None:
    assert_field_refused(await send(client, "GET", f"/api/v1/users?{query}", bearer(admin_token)), field)


async def test_only_an_admin_changes_a_role(client: aiohttp.ClientSession, person: Person, token: str) -> None:
    target = f"/api/v1/users/{person.id}"
    for user in ({"role": "admin"}, {"role": "default"}, {"role": "admin", "username": "new name"}):
        assert_problem(await post_json(client, target, {"user": user}, bearer(token), method="PATCH"), 403)
    for user in ({"role": "root"}, {"role": None}, {"id": 1}, {"password": "another password"}, {}):
        reply = await post_json(client, target, {"user": user}, bearer(token), method="PATCH")
        assert assert_problem(reply, 422)["errors"]


async def test_wrong_current_password(client: aiohttp.ClientSession, person: Person, token: str) -> None:
    target = f"/api/v1/users/{person.id}/password"
    members = {"current_password": MARKER, "password": "another good password"}
    assert_field_refused(await post_json(client, target, members, bearer(token)), "current_password")
    assert (await RFC6749.log_in(client, **person.login)).access_token


async def test_another_users_record_is_like_one_that_does_not_exist(
    client: aiohttp.ClientSession, admin_token: str, token: str
) -> None:
    other = (await send(client, "GET", "/api/v1/users/me", bearer(admin_token))).json()["id"]
    change = json.dumps({"user": {"username": "changed"}})
    password = json.dumps({"current_password": "password", "password": "another password"})
    headers = {"Content-Type": JSON, **bearer(token)}
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PATCH", "", change),
        ("POST", "/password", password),
    ):
        replies = [
            await send(client, method, f"/api/v1/users/{user_id}{path}", headers, body) for user_id in (other, 10**17)
        ]
        assert_problem(replies[0], 404)
        assert replies[0].body == replies[1].body
    assert_problem(await send(client, "GET", "/api/v1/users", bearer(token)), 403)
