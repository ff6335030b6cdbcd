"""Unreadable or meaningless requests get a 4xx that repeats none of their text, and nothing is written."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import asyncpg
import msgpack
import pytest

JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}
CANARY = "canary"
DEEP = 10_000


class Endpoint(NamedTuple):
    method: str
    path: str
    body: dict[str, Any]
    scope: str | None = None  # of auth-service's token; None: sent by the user


ENDPOINTS = [
    Endpoint("POST", "/api/v1/users", {"user": {"email": f"{CANARY}@x.com", "password": f"{CANARY} correct horse"}}),
    Endpoint("PATCH", "/api/v1/users/{id}", {"user": {"username": f"{CANARY} name", "email": f"{CANARY}@x.com"}}),
    Endpoint(
        "POST",
        "/api/v1/users/{id}/password",
        {"current_password": "battery staple", "password": f"{CANARY} correct horse"},
    ),
    Endpoint(
        "POST", "/internal/credentials/check", {"login": f"{CANARY}@x.com", "password": CANARY}, "credentials:check"
    ),
    Endpoint("POST", "/internal/events/ack", {"ids": [1]}, "events:consume"),
    Endpoint("POST", "/internal/credentials/account", {"login": f"{CANARY}@x.com"}, "credentials:check"),
]

by_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)


def unreadable(valid: dict[str, Any]) -> Iterator[tuple[bytes, dict[str, str], set[int]]]:
    """Bodies with their headers and the right statuses; the tests of the readers cover all other faults."""
    raw, first = json.dumps(valid).encode(), next(iter(valid))
    for body in (
        raw[: len(raw) // 2],
        b"[]",
        raw[:-1] + f', "{first}": 1}}'.encode(),
        raw[:-1] + b', "x": NaN}',
        raw[:-1] + b', "x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        b"\xef\xbb\xbf" + raw,
    ):
        yield body, JSON, {400}
    yield raw[:-1] + b', "x\\u0000": 1}', JSON, {422}
    yield raw[:-1] + b', "x": "' + b"x" * 65_536 + b'"}', JSON, {413}
    yield raw, JSON | {"Content-Encoding": "gzip"}, {415}
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-7"):
        yield raw, {"Content-Type": content_type}, {415}
    packed = msgpack.packb(valid)
    for body in (packed[:-1], packed + b"\x01", msgpack.packb({**valid, b"x": 1}), msgpack.packb([valid])):
        yield body, MSGPACK, {400, 415}


def wrong(valid: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies with one fault in one field."""
    yield "an unknown field", {**valid, "x": 1}
    yield "an unknown field in capitals", {**valid, CANARY.upper(): 1}
    for name, value in valid.items():
        yield f"no {name}", {key: item for key, item in valid.items() if key != name}
        for bad in (1, True, [valid], {"x": value}):
            yield f"{name} is {bad!r}"[:40], {**valid, name: bad}
        if isinstance(value, str):
            yield f"NUL in {name}", {**valid, name: value + "\0"}
        if isinstance(value, dict):
            for what, inner in wrong(value):
                if not (what.startswith("no ") and name == "user" and len(inner) == len(value) - 1):
                    yield f"{name}: {what}", {**valid, name: inner}


OTHERS: list[tuple[str, int, dict[str, Any]]] = [
    *(
        (f"sign-up: {json.dumps(user)[:60]}", 0, {"user": user})
        for user in (
            {},
            {"password": f"{CANARY} correct horse"},
            {"email": f"{CANARY}@x.com"},
            {"email": "", "password": f"{CANARY} correct horse"},
            {"username": "", "password": f"{CANARY} correct horse"},
            {"phone_number": "", "password": f"{CANARY} correct horse"},
            {"email": f"{CANARY}@x.com", "password": ""},
            {"email": f"{CANARY}@x.com", "password": None},
            {"email": f"{CANARY}@x.com", "password": f"{CANARY} correct horse", "role": "admin"},
            {"email": f"{CANARY}@x.com", "password": f"{CANARY} correct horse", "Role": "admin"},
        )
    ),
    ("sign-up: fields outside", 0, {"email": f"{CANARY}@x.com", "password": f"{CANARY} correct horse"}),
    *(
        (f"change: {json.dumps(user)[:60]}", 1, {"user": user})
        for user in (
            {},
            {"email": ""},
            {"username": ""},
            {"phone_number": ""},
            {"password": "x" * 20},
            {"id": 1},
            {"role": "boss"},
        )
    ),
    ("change: fields outside", 1, {"username": f"{CANARY} name"}),
    ("password: empty", 2, {"current_password": "battery staple", "password": ""}),
    ("password: current one empty", 2, {"current_password": "", "password": f"{CANARY} correct horse"}),
    ("check: unknown type", 3, {"login": "x", "password": "x", "login_type": "username"}),
    *((f"ack: {ids}", 4, {"ids": ids}) for ids in (["1"], [0], [-1], [2**63], [1.5], [None], [1] * 1001)),
]


class Target:
    def __init__(self, service: Any, connection: Any, user_id: int) -> None:
        self.service = service
        self.connection = connection
        self.user_id = user_id

    async def send(self, endpoint: Endpoint, data: bytes, headers: dict[str, str]) -> Any:
        """Send a request that must be refused; nothing may be written, and none of its text repeated."""
        before = await self.rows()
        token = self.service.issuer.service_token(endpoint.scope) if endpoint.scope else None
        user = None if endpoint.scope else self.user_id
        path = endpoint.path.format(id=self.user_id)
        reply = await self.service.request(endpoint.method, path, data=data, headers=headers, token=token, user=user)
        assert 400 <= reply.status < 500
        assert reply.headers["Content-Type"] == "application/problem+json; charset=utf-8"
        assert reply.json["status"] == reply.status
        assert CANARY not in reply.body.decode().lower()
        if reply.status == 422:
            assert reply.json["errors"]
        assert await self.rows() == before
        return reply

    async def rows(self) -> list[Any]:
        users = await self.connection.fetch("SELECT * FROM users ORDER BY id")
        return [*users, *await self.connection.fetch("SELECT * FROM outbox ORDER BY id")]


@pytest.fixture(scope="module")
async def target(lasting_service: Any) -> AsyncIterator[Target]:
    user = await lasting_service.add(username="somebody")
    connection = await asyncpg.connect(lasting_service.database_url)
    yield Target(lasting_service, connection, user.id)
    await connection.close()


@by_endpoint
async def test_a_body_that_cannot_be_read_is_refused(target: Target, endpoint: Endpoint) -> None:
    for data, headers, statuses in unreadable(endpoint.body):
        assert (await target.send(endpoint, data, headers)).status in statuses, (data[:80], headers)


@by_endpoint
async def test_a_body_with_a_fault_in_a_field_is_refused(target: Target, endpoint: Endpoint) -> None:
    for what, body in wrong(endpoint.body):
        assert (await target.send(endpoint, json.dumps(body).encode(), JSON)).status == 422, what


@pytest.mark.parametrize(("number", "body"), [pytest.param(*case, id=what) for what, *case in OTHERS])
async def test_a_value_that_is_not_allowed_is_refused(target: Target, number: int, body: Any) -> None:
    assert (await target.send(ENDPOINTS[number], json.dumps(body).encode(), JSON)).status == 422


async def test_the_field_with_a_forbidden_character_is_named(target: Target) -> None:
    body = b'{"user": {"email": "a\\u0000@x.com", "password": "correct horse battery"}}'
    assert (await target.send(ENDPOINTS[0], body, JSON)).faulty_fields == {"user.email"}


@pytest.mark.parametrize("wait", ["x", "-1", "31", "nan", "inf", "1e9", ""])
async def test_a_wait_that_cannot_be_is_refused(target: Target, wait: str) -> None:
    endpoint = Endpoint("GET", f"/internal/events?wait={wait}", {}, "events:consume")
    assert (await target.send(endpoint, b"", {})).status == 422


@by_endpoint
async def test_who_is_not_known_is_told_so_whatever_the_body(lasting_service: Any, endpoint: Endpoint) -> None:
    if endpoint.path != "/api/v1/users":
        reply = await lasting_service.request(endpoint.method, endpoint.path.format(id=1), data=b"{", headers=JSON)
        assert reply.status == 401
