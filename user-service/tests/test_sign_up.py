"""Signing up over HTTP."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from .conftest import PASSWORD

VARIANTS = ["Jos\u00e9@Example.com", "jose\u0301@example.com", "JOS\u00c9@EXAMPLE.COM", "jos\u00e9@example\uff0ecom"]


async def test_the_documents_sign_up_answers_200_and_the_user_in_its_own_order(service: Any) -> None:
    reply = await service.sign_up(email="user@example.com")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert list(reply.json) == ["id", "email", "created_at", "updated_at", "role"]
    assert reply.json["email"] == "user@example.com"
    assert reply.json["role"] == "default"
    assert reply.json["created_at"] == reply.json["updated_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reply.json["created_at"])


async def test_a_user_may_have_a_user_name_or_a_phone_number_instead_of_an_address(service: Any) -> None:
    named = await service.sign_up(username="User name", email=None)
    assert list(named.json) == ["id", "email", "created_at", "updated_at", "role", "username"]
    assert (named.json["email"], named.json["username"]) == (None, "User name")
    called = await service.sign_up(phone_number="+880 1700-000000")
    assert list(called.json) == ["id", "email", "created_at", "updated_at", "role", "phone_number"]
    assert called.json["phone_number"] == "+8801700000000"


async def test_a_user_may_have_all_three_login_names(service: Any) -> None:
    reply = await service.sign_up(email="a@x.com", username="a", phone_number="+8801700000000")
    assert list(reply.json)[-2:] == ["username", "phone_number"]
    for login in ("a@x.com", "A", "+8801700000000"):
        assert (await service.check(login, "correct horse battery"))["id"] == reply.json["id"]


async def test_only_the_hash_of_the_password_is_stored(service: Any) -> None:
    await service.sign_up(email="a@x.com", password="caf\u00e9 correct horse")
    [row] = await service.rows("SELECT * FROM users")
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "horse" not in str(dict(row))
    assert await service.check("a@x.com", "cafe\u0301 correct horse") is not None


@pytest.mark.parametrize("taken", [{"email": "A@x.com"}, {"username": "KIM"}, {"phone_number": "+8801700000000"}])
async def test_a_taken_login_name_is_a_conflict_that_names_it(service: Any, taken: dict[str, str]) -> None:
    await service.add(email="a@x.com", username="kim", phone_number="+8801700000000")
    reply = await service.sign_up(**{"email": "other@x.com"} | taken)
    assert reply.status == 409
    assert reply.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    [field] = taken
    assert reply.json["errors"] == [{"field": f"user.{field}", "message": "is already taken"}]


async def test_all_taken_login_names_are_named_at_once(service: Any) -> None:
    await service.add(email="a@x.com")
    await service.add(username="kim")
    reply = await service.sign_up(email="a@x.com", username="kim", phone_number="+8801700000000")
    assert reply.faulty_fields == {"user.email", "user.username"}


async def test_a_hundred_sign_ups_of_one_identity_at_once_make_one_user(start: Callable[..., Any]) -> None:
    service = await start(hash_deadline=8)  # a hundred may wait to be hashed, even on a slow machine
    replies = await asyncio.gather(*(service.sign_up(email=VARIANTS[n % len(VARIANTS)]) for n in range(100)))
    assert sorted(reply.status for reply in replies) == [200] + [409] * 99
    assert [row["count"] for row in await service.rows("SELECT count(*) FROM users")] == [1]


async def test_two_replicas_make_one_user_of_one_identity(start: Callable[..., Any]) -> None:
    replicas = [await start(), await start()]
    replies = await asyncio.gather(*(replicas[n % 2].sign_up(email=VARIANTS[n % len(VARIANTS)]) for n in range(20)))
    assert sorted(reply.status for reply in replies) == [200] + [409] * 19


async def test_sign_ups_with_crossed_names_never_wait_for_each_other(service: Any) -> None:
    pairs = [("a@x.com", "kim"), ("b@x.com", "kim"), ("a@x.com", "lee"), ("b@x.com", "lee")] * 5
    replies = await asyncio.gather(*(service.sign_up(email=email, username=name) for email, name in pairs))
    assert {reply.status for reply in replies} == {200, 409}
    assert [reply.status for reply in replies].count(200) == 2


async def test_every_fault_is_named_at_once_and_nothing_is_written(service: Any) -> None:
    reply = await service.sign_up(email="nobody", username="a@b", phone_number="1", password="short")
    assert reply.status == 422
    assert reply.faulty_fields == {"user.email", "user.username", "user.phone_number", "user.password"}
    assert "nobody" not in reply.body.decode()
    assert "short" not in reply.body.decode()
    assert await service.rows("SELECT FROM users") == []


async def test_without_a_login_name_there_is_no_user(service: Any) -> None:
    reply = await service.sign_up()
    assert (reply.status, reply.faulty_fields) == (422, {"user"})


@pytest.mark.parametrize("name", ["role", "id", "epoch", "password_hash", "created_at", "disabled_at"])
async def test_a_sign_up_sets_nothing_but_login_names_and_password(lasting_service: Any, name: str) -> None:
    reply = await lasting_service.sign_up(email="mass-assignment@x.com", **{name: "admin"})
    assert (reply.status, reply.faulty_fields) == (422, {f"user.{name}"})
    assert await lasting_service.check("mass-assignment@x.com", "correct horse battery") is None


async def test_a_password_outside_the_policy_is_refused_and_it_is_said_why(lasting_service: Any) -> None:
    reply = await lasting_service.sign_up(email="policy@example.com", password="Policy@Example.com")
    assert reply.status == 422
    assert reply.json["errors"] == [
        {"field": "user.password", "message": "must not be the user's own e-mail address, user name or phone number"}
    ]


async def test_in_development_the_documents_passwords_are_admitted(start: Callable[..., Any]) -> None:
    service = await start(development=True, password_min_length=6, password_blocklist=False)
    assert (await service.sign_up(email="usuario@noveltie.com", password="123456")).status == 200


async def test_national_phone_numbers_are_read_for_the_region_set(start: Callable[..., Any]) -> None:
    service = await start(phone_region="BD")
    assert (await service.sign_up(phone_number="01700000000")).json["phone_number"] == "+8801700000000"
    for login in ("01700000000", "8801700000000", "+8801700000000"):
        assert await service.check(login, "correct horse battery", "phone_number") is not None


@pytest.mark.parametrize("media_type", ["application/msgpack", "application/x-msgpack"])
async def test_message_pack_is_read_and_written_where_it_is_asked_for(service: Any, media_type: str) -> None:
    body = msgspec.msgpack.encode({"user": {"email": "a@x.com", "password": "correct horse battery"}})
    headers = {"Content-Type": media_type, "Accept": media_type}
    reply = await service.request("POST", "/api/v1/users", data=body, headers=headers)
    assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
    user = msgspec.msgpack.decode(reply.body)
    assert list(user) == ["id", "email", "created_at", "updated_at", "role"]
    again = await service.request("POST", "/api/v1/users", data=body, headers=headers)
    assert (again.status, again.headers["Content-Type"]) == (409, media_type)
    assert msgspec.msgpack.decode(again.body)["errors"][0]["field"] == "user.email"
    shown = await service.request("GET", "/api/v1/users/me", user=user["id"], headers={"Accept": media_type})
    assert msgspec.msgpack.decode(shown.body) == user


async def test_more_sign_ups_than_can_be_hashed_are_answered_503_before_any_hashing(start: Callable[..., Any]) -> None:
    service = await start(hash_threads=1, hash_deadline=0.001)
    replies = await asyncio.gather(*(service.sign_up(email=f"a{n}@x.com") for n in range(12)))
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 1
    refused = next(reply for reply in replies if reply.status == 503)
    assert refused.headers["Retry-After"] == "1"
    assert len(await service.rows("SELECT FROM users")) == statuses.count(200)


async def test_a_sign_up_leaves_one_event_that_says_nothing_but_the_id(service: Any) -> None:
    with capture_logs() as logs:
        reply = await service.sign_up(email="canary@x.com", password="canary correct horse stable")
    assert [entry["user_id"] for entry in logs if entry["event"] == "user created"] == [reply.json["id"]]
    assert "canary" not in repr(logs)


@pytest.mark.parametrize("email", ["\u0430dmin@x.com", "admin@ex\u0430mple.com"])
async def test_an_address_that_looks_like_another_is_refused(service: Any, email: str) -> None:
    user = await service.add(username="somebody")
    renamed = await service.request("PATCH", f"/api/v1/users/{user.id}", {"user": {"email": email}}, user=user.id)
    for reply in (await service.sign_up(email=email), renamed):
        assert reply.status == 422
        assert reply.json["errors"] == [{"field": "user.email", "message": "mixes alphabets that look alike"}]


@pytest.mark.parametrize(
    "password", ["123456789012345", "aaaaaaaaaaaaaaa", "passwordpassword", "correcthorsebatterystaple"]
)
async def test_a_long_password_that_is_soon_guessed_is_refused(service: Any, password: str) -> None:
    user = await service.add(PASSWORD, username="somebody")
    body = {"current_password": PASSWORD, "password": password}
    changed = await service.request("POST", f"/api/v1/users/{user.id}/password", body, user=user.id)
    for reply in (await service.sign_up(password, email="a@x.com"), changed):
        assert reply.status == 422
        assert "soon guessed" in reply.json["errors"][0]["message"]
    assert (await service.sign_up("trumpet oyster gravel fifteen", email="a@x.com")).status == 200
