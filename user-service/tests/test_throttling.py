"""Sign-ups and guesses of a current password are throttled before anything is hashed for them."""

from collections import Counter
from typing import Any

import pytest

from .conftest import PASSWORD

NEW = "a completely new one"
HERE, ELSEWHERE = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}


@pytest.fixture
async def limited(start: Any) -> Any:
    """A service without Redis, which therefore applies half of these numbers."""
    return await start(throttle_exempt="", throttle_sign_up="6/hour", throttle_password_pair="6/hour")


async def hashed(service: Any) -> int:
    counters = (await service.request("GET", "/stats")).json["counters"]
    return int(counters.get("passwords hashed", 0))


async def sign_up(service: Any, name: str, headers: Any, token: str | None = None) -> Any:
    body = {"user": {"username": name, "password": PASSWORD}}
    return await service.request("POST", "/api/v1/users", body, headers=headers, token=token)


async def change(service: Any, user: int, current: str, headers: Any) -> Any:
    body = {"current_password": current, "password": NEW}
    return await service.request("POST", f"/api/v1/users/{user}/password", body, user=user, headers=headers)


async def test_sign_ups_from_one_network_are_limited(limited: Any) -> None:
    replies = [await sign_up(limited, f"name{number}", HERE) for number in range(5)]
    assert [reply.status for reply in replies] == [200] * 3 + [429] * 2
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 3600
    assert replies[-1].headers["Content-Type"].startswith("application/problem+json")
    assert await hashed(limited) == 3
    assert (await sign_up(limited, "another", ELSEWHERE)).status == 200


@pytest.mark.parametrize("place", ["2001:db8:0:{n:x}::1", "10.1.1.{n}"])
async def test_sign_ups_from_a_wide_network_are_limited_too(limited: Any, place: str) -> None:
    headers = [{"X-Forwarded-For": place.format(n=n // 2)} for n in range(40)]
    replies = [await sign_up(limited, f"name{number}", headers[number]) for number in range(40)]
    assert Counter(reply.status for reply in replies) == {200: 12, 429: 28}
    assert (await sign_up(limited, "another", HERE)).status == 200


async def test_what_a_network_is_refused_takes_nothing_from_its_neighbours(limited: Any) -> None:
    for number in range(40):
        await sign_up(limited, f"name{number}", HERE)
    assert (await sign_up(limited, "another", ELSEWHERE)).status == 200


async def test_right_changes_of_a_password_are_limited_too(start: Any) -> None:
    service = await start(throttle_exempt="", throttle_password_attempts="6/hour")
    user = (await service.add(PASSWORD, username="somebody")).id
    async with service.acknowledging():
        replies = [await change(service, user, PASSWORD if n == 0 else NEW, HERE) for n in range(5)]
        assert [reply.status for reply in replies] == [204] * 3 + [429] * 2
        assert 1 <= int(replies[-1].headers["Retry-After"]) <= 3600
        assert (await change(service, user, NEW, {"X-Forwarded-For": "198.51.100.1"})).status == 204


@pytest.mark.parametrize(("subject", "scope", "limited_too"), [("client:app", "SignUp", True), ("admin", "", False)])
async def test_a_client_is_limited_and_an_administrator_is_not(
    start: Any, subject: str, scope: str, limited_too: bool
) -> None:
    service = await start(throttle_exempt="", throttle_sign_up="2/hour", open_sign_up=False)
    if subject == "admin":
        subject = str((await service.add(username="admin", role="admin")).id)
    token = service.issuer.token(subject, scope)
    replies = [await sign_up(service, f"name{number}", HERE, token) for number in range(4)]
    assert [reply.status for reply in replies] == ([200] + [429] * 3 if limited_too else [200] * 4)


async def rename(service: Any, user: int, name: str, headers: Any, kind: str = "username") -> Any:
    return await service.request("PATCH", f"/api/v1/users/{user}", {"user": {kind: name}}, user=user, headers=headers)


async def test_changes_of_login_names_have_the_budget_of_sign_ups(limited: Any) -> None:
    user, other = [(await limited.add(username=name, email=f"{name}@x.com")).id for name in ("somebody", "other")]
    replies = [await rename(limited, user, name, HERE) for name in ("other", "free", "OTHER", "taken?", "free?")]
    assert [reply.status for reply in replies] == [409, 200, 409, 429, 429]
    refused = await sign_up(limited, "another", HERE)
    assert (replies[-1].body, replies[-1].headers["Content-Type"]) == (refused.body, refused.headers["Content-Type"])
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 3600
    assert (await rename(limited, other, "free?", HERE)).status == 429
    assert (await rename(limited, other, "free?", ELSEWHERE)).status == 200


async def test_changes_of_login_names_are_limited_for_a_user_who_comes_from_many_networks(limited: Any) -> None:
    user = (await limited.add(username="somebody")).id
    networks = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(5)]
    kinds = ("email", "username", "email", "username", "email")
    replies = [
        await rename(limited, user, f"name{number}" + ("@x.com" if kind == "email" else ""), network, kind)
        for number, (kind, network) in enumerate(zip(kinds, networks, strict=True))
    ]
    assert [reply.status for reply in replies] == [200] * 3 + [429] * 2


async def test_an_administrator_may_change_any_number_of_login_names(limited: Any) -> None:
    admin = (await limited.add(username="admin", role="admin")).id
    user = (await limited.add(username="somebody")).id
    for number in range(5):
        body, path = {"user": {"username": f"name{number}"}}, f"/api/v1/users/{user}"
        assert (await limited.request("PATCH", path, body, user=admin, headers=HERE)).status == 200


async def test_guesses_of_a_current_password_are_limited(limited: Any) -> None:
    user = (await limited.add(PASSWORD, username="somebody")).id
    replies = [await change(limited, user, f"wrong guess {number}", HERE) for number in range(5)]
    assert [reply.status for reply in replies] == [422] * 3 + [429] * 2
    before = await hashed(limited)
    right = await change(limited, user, PASSWORD, HERE)
    assert (right.status, right.body) == (429, replies[-1].body)
    assert await hashed(limited) == before
    async with limited.acknowledging():
        assert (await change(limited, user, PASSWORD, ELSEWHERE)).status == 204


async def test_a_new_password_that_is_refused_is_no_guess(limited: Any) -> None:
    user = (await limited.add(PASSWORD, username="somebody")).id
    body = {"current_password": PASSWORD, "password": "short"}
    path = f"/api/v1/users/{user}/password"
    replies = [await limited.request("POST", path, body, user=user, headers=HERE) for _ in range(10)]
    assert Counter(reply.status for reply in replies) == {422: 10}
