"""The credential check, which only auth-service may request."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import argon2
import pytest
from structlog.testing import capture_logs

PASSWORD = "correct horse battery"
WEAK = argon2.PasswordHasher(memory_cost=64, time_cost=1, parallelism=1)


async def stored_hash(service: Any) -> str:
    [row] = await service.rows("SELECT password_hash FROM users")
    return str(row["password_hash"])


@pytest.mark.parametrize(
    ("login", "login_type"),
    [
        ("a@x.com", "any"),
        ("A@X.com", "any"),
        ("User name", "any"),
        ("USER NAME", "any"),
        ("+8801700000000", "any"),
        ("+880 1700-000000", "any"),
        ("+8801700000000", "phone_number"),
        ("8801700000000", "phone_number"),
    ],
)
async def test_a_user_is_found_by_each_login_name_in_any_spelling(service: Any, login: str, login_type: str) -> None:
    user = await service.add(PASSWORD, email="a@x.com", username="User name", phone_number="+8801700000000")
    assert await service.check(login, PASSWORD, login_type) == {"id": user.id, "email": "a@x.com", "epoch": 0}
    assert await service.check(login, PASSWORD + "x", login_type) is None


@pytest.mark.parametrize("login", ["a@x.com", "User name", "01700000000"])
async def test_a_login_that_must_be_a_phone_number_is_nothing_else(service: Any, login: str) -> None:
    await service.add(PASSWORD, email="a@x.com", username="User name", phone_number="+8801700000000")
    assert await service.check(login, PASSWORD, "phone_number") is None


@pytest.mark.parametrize("network", [{}, {"network": "192.0.2.1/32"}, {"network": None}])
async def test_a_check_may_say_which_network_it_comes_from(service: Any, network: dict[str, Any]) -> None:
    user = await service.add(PASSWORD, username="ann")
    token = service.issuer.service_token("credentials:check")
    body = {"login": "ann", "password": PASSWORD, **network}
    reply = await service.request("POST", "/internal/credentials/check", body, token=token)
    assert (reply.status, reply.json["user"]["id"]) == (200, user.id)


async def test_every_refusal_has_the_same_bytes_and_costs_one_hash(service: Any) -> None:
    await service.add(PASSWORD, email="known@x.com")
    await service.add(PASSWORD, email="disabled@x.com")
    await service.add(email="nopassword@x.com")
    gone = await service.add(PASSWORD, email="deleted@x.com")
    await service.rows("UPDATE users SET disabled_at = now() WHERE email = 'disabled@x.com'")
    await service.rows("DELETE FROM users WHERE id = $1", gone.id)
    token = service.issuer.service_token("credentials:check")
    replies, hashed = [], []
    for login, password in (
        ("known@x.com", "wrong"),
        ("known@x.com", ""),
        ("known@x.com", PASSWORD + " " * 1024),
        ("unknown@x.com", PASSWORD),
        ("disabled@x.com", PASSWORD),
        ("deleted@x.com", PASSWORD),
        ("nopassword@x.com", PASSWORD),
        ("nopassword@x.com", ""),
        ("", PASSWORD),
        ("@", PASSWORD),
        ("x" * 60_000, PASSWORD),
    ):
        body = {"login": login, "password": password}
        replies.append(await service.request("POST", "/internal/credentials/check", body, token=token))
        hashed.append((await service.request("GET", "/stats")).json["counters"]["passwords hashed"])
    assert {(reply.status, reply.body) for reply in replies} == {(200, b'{"user":null}')}
    varying = {"date", "x-request-id"}
    headers = [
        {name: value for name, value in reply.headers.items() if name.lower() not in varying} for reply in replies
    ]
    assert headers == [headers[0]] * len(headers)
    assert hashed == [hashed[0] + number for number in range(len(replies))]


async def test_a_check_is_logged_with_the_user_where_known_and_never_with_what_was_typed(service: Any) -> None:
    user = await service.add(PASSWORD, email="known@x.com")
    with capture_logs() as logs:
        await service.check("known@x.com", PASSWORD)
        await service.check("known@x.com", "canary password")
        await service.check("canary@x.com", "canary password")
    checks = [(entry["ok"], entry["user_id"]) for entry in logs if entry["event"] == "login checked"]
    assert checks == [(True, user.id), (False, user.id), (False, None)]
    assert "canary" not in repr(logs)
    assert "known@" not in repr(logs)
    assert PASSWORD not in repr(logs)


async def test_a_login_replaces_a_hash_made_with_older_parameters_also_when_many_come_at_once(service: Any) -> None:
    user = await service.add(email="a@x.com")
    await service.rows("UPDATE users SET password_hash = $1", WEAK.hash(PASSWORD))
    assert await service.check("a@x.com", "wrong") is None
    assert "m=64," in await stored_hash(service)
    found = await asyncio.gather(*(service.check("a@x.com", PASSWORD) for _ in range(8)))
    assert [user_found["id"] for user_found in found] == [user.id] * 8
    assert "m=19456,t=2,p=1" in await stored_hash(service)
    assert await service.check("a@x.com", PASSWORD) == {"id": user.id, "email": "a@x.com", "epoch": 0}


async def test_a_login_succeeds_where_the_better_hash_cannot_be_written(service: Any) -> None:
    await service.add(email="a@x.com")
    await service.rows("UPDATE users SET password_hash = $1", WEAK.hash(PASSWORD))
    await service.rows(
        "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = 'disk_full'; END $$"
    )
    try:
        await service.rows("CREATE TRIGGER disk_full BEFORE UPDATE ON users EXECUTE FUNCTION disk_full()")
        assert await service.check("a@x.com", PASSWORD) is not None
        assert "m=64," in await stored_hash(service)
    finally:
        await service.rows("DROP FUNCTION disk_full CASCADE")


async def test_a_login_that_races_a_password_change_does_not_bring_the_old_password_back(service: Any) -> None:
    user = await service.add(email="a@x.com")
    new = "a completely new one"
    async with service.acknowledging():
        for round_ in range(3):
            current, new = (PASSWORD, new) if round_ % 2 == 0 else (new, PASSWORD)
            await service.rows("UPDATE users SET password_hash = $1", WEAK.hash(current))
            body = {"current_password": current, "password": new}
            checks = (service.check("a@x.com", current) for _ in range(3))
            changed, *_ = await asyncio.gather(
                service.request("POST", f"/api/v1/users/{user.id}/password", body, user=user.id), *checks
            )
            assert changed.status == 204
            assert await service.check("a@x.com", current) is None
            assert (await service.check("a@x.com", new))["epoch"] == round_ + 1
            new = "a completely new one"


async def test_more_checks_than_can_be_hashed_are_answered_503_at_once(start: Callable[..., Any]) -> None:
    service = await start(hash_threads=1, hash_deadline=0.001)
    token = service.issuer.service_token("credentials:check")
    body = {"login": "a@x.com", "password": PASSWORD}
    replies = await asyncio.gather(
        *(service.request("POST", "/internal/credentials/check", body, token=token) for _ in range(12))
    )
    refused = [reply for reply in replies if reply.status == 503]
    assert {reply.status for reply in replies} == {200, 503}
    assert refused[0].headers["Retry-After"] == "1"
    assert refused[0].json["title"] == "Service Unavailable"
    assert await service.check("a@x.com", PASSWORD) is None  # there is room again


async def test_hostile_text_that_is_slow_to_normalize_keeps_nobody_waiting(service: Any) -> None:
    """Sorting combining marks takes quadratic time: this many would block the process for more than a second."""
    user = await service.add(PASSWORD, email="a@x.com")
    marks = "a" + "\u0301" * 15_000 + "\u0323" * 15_000
    for login in (marks, f"{marks}@x.com", f"a@{marks}.com"):
        started = time.monotonic()
        assert await service.check(login, PASSWORD) is None
        assert time.monotonic() - started < 0.5
    change = {"current_password": PASSWORD, "password": marks}
    requests = [
        service.check("a@x.com", marks),
        service.request("POST", "/api/v1/users", {"user": {"email": "b@x.com", "password": marks}}),
        service.request("PATCH", f"/api/v1/users/{user.id}", {"user": {"username": marks}}, user=user.id),
        service.request("POST", f"/api/v1/users/{user.id}/password", change, user=user.id),
    ]
    for request in requests:
        started = time.monotonic()
        assert getattr(await request, "status", 422) == 422
        assert time.monotonic() - started < 0.5
