"""Throttles through the gateway: guesses are stopped even if their headers claim another origin."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from dev import testing
from drivers import DOORKEEPER, RFC6749
from exchange import JSON, Reply, bearer, post_json, send
from marks import needs_own_stack
from people import Administrator, Person, signed_up
from timing import KeptAlive, assert_alike

pytestmark = needs_own_stack

PROXY = "127.0.0.2"
WRONG = "not the password"


@pytest.fixture(scope="module")
def throttling_stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    """A stack with the default budgets, behind one proxy that it trusts."""
    defaults = dict.fromkeys(("AUTH_THROTTLE_EXEMPT", "AUTH_REFRESH_RATE", "USERS_THROTTLE_EXEMPT"), "")
    with testing.running(new_data_dir(), GATEWAY_TRUSTED_PROXIES=PROXY, **defaults) as stack:
        yield stack


@pytest.fixture(scope="module")
async def client(throttling_stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(throttling_stack.url) as session:
        yield session


@pytest.fixture(scope="module")
async def proxy(throttling_stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that the gateway takes for the trusted proxy."""
    connector = aiohttp.TCPConnector(local_addr=(PROXY, 0))
    async with aiohttp.ClientSession(throttling_stack.url, connector=connector) as session:
        yield session


@pytest.fixture(scope="module")
def administrator(proxy: aiohttp.ClientSession) -> Administrator:
    return Administrator(proxy)


@pytest.fixture
async def person(proxy: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[Person]:
    async with signed_up(proxy, administrator) as person:
        yield person


async def log_in(
    http: aiohttp.ClientSession, person: Person, password: str, headers: dict[str, str] | None = None
) -> Reply:
    request = RFC6749.password_request(username=person.email, password=password)
    return await post_json(http, RFC6749.path, request, headers or {})


async def test_no_header_of_a_client_s_own_gives_it_another_budget(
    client: aiohttp.ClientSession, person: Person
) -> None:
    statuses = []
    for number in range(12):
        address = f"203.0.113.{number}"
        names = ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "Client-IP")
        spoofed = dict.fromkeys(names, address) | {"Forwarded": f"for={address}"}
        statuses.append((await log_in(client, person, WRONG, spoofed)).status)
    assert statuses == [400] * 5 + [429] * 7
    right = await log_in(client, person, person.password, {"X-Forwarded-For": "203.0.113.99"})
    assert (right.status, right.json()["error"]) == (429, "too_many_requests")
    assert 1 <= int(right.headers["Retry-After"]) <= 900


async def test_all_names_of_a_user_share_one_budget(
    client: aiohttp.ClientSession, proxy: aiohttp.ClientSession, admin_token: str, person: Person
) -> None:
    names = {"username": f"person.{secrets.token_hex(6)}", "phone_number": f"+49171{secrets.randbelow(10**7):07}"}
    headers = {**bearer(admin_token), "Content-Type": JSON}
    changed = await send(proxy, "PATCH", f"/api/v1/users/{person.id}", headers, json.dumps({"user": names}))
    assert changed.status == 200, changed
    logins = [person.email, names["username"], names["phone_number"]]
    requests = [RFC6749.password_request(username=logins[n % 3], password=WRONG) for n in range(60)]
    statuses = await asyncio.gather(*(post_json(client, RFC6749.path, request) for request in requests))
    # The stack's one auth-service counts in Redis if the machine has it, or else alone with half the budget.
    assert Counter(reply.status for reply in statuses) in ({400: 5, 429: 55}, {400: 3, 429: 57})
    for login in logins:
        request = RFC6749.password_request(username=login, password=person.password)
        assert (await post_json(client, RFC6749.path, request)).status == 429


async def test_the_time_of_a_refusal_does_not_tell_a_user_from_nobody(
    throttling_stack: testing.Stack, person: Person
) -> None:
    """Here, no hash hides the time that it takes to find the account that a login means."""
    connection = KeptAlive(throttling_stack.url)
    right = RFC6749.password_request(username=person.email, password=person.password)
    known = RFC6749.password_request(username=person.email, password=WRONG)
    unknown = RFC6749.password_request(username=f"nobody-{secrets.token_hex(6)}@example.com", password=WRONG)

    def compare() -> None:
        for request in [known, unknown] * 5:
            connection.post(RFC6749.path, request, 400)
        requests = {"known": known, "unknown": unknown, "right": right}
        assert_alike(
            {
                name: lambda request=request: connection.post(RFC6749.path, request, 429)
                for name, request in requests.items()
            },
            "known",
            250,
        )

    try:
        await asyncio.to_thread(compare)
    finally:
        connection.close()


async def test_sign_ups_and_changes_of_password_are_limited(
    client: aiohttp.ClientSession, proxy: aiohttp.ClientSession, person: Person
) -> None:
    elsewhere = {"X-Forwarded-For": "198.51.100.9"}
    tokens = RFC6749.tokens(await log_in(proxy, person, person.password, elsewhere))
    body = {"current_password": WRONG, "password": "a completely new one"}
    statuses = [
        (await post_json(client, f"/api/v1/users/{person.id}/password", body, bearer(tokens.access_token))).status
        for _ in range(7)
    ]
    assert statuses == [422] * 5 + [429] * 2
    statuses = [
        (await post_json(client, "/api/v1/users", {"user": {"username": "taken", "password": "x"}})).status
        for _ in range(62)
    ]
    assert statuses == [422] * 60 + [429] * 2


async def test_wrong_current_passwords_are_counted_in_every_request_that_may_have_one(
    proxy: aiohttp.ClientSession, person: Person
) -> None:
    place = {"X-Forwarded-For": "198.51.100.10"}
    token = place | bearer(RFC6749.tokens(await log_in(proxy, person, person.password, place)).access_token)
    path, change = f"/api/v1/users/{person.id}", {"user": {"username": f"name {person.id}"}}
    wrong, right = {"current_password": WRONG}, {"current_password": person.password}
    statuses = [
        (await post_json(proxy, path, body, token, method=method)).status
        for method, body in [("PATCH", change | wrong), ("DELETE", wrong)] * 3 + [("DELETE", right)]
    ]
    assert statuses == [403] * 5 + [429] * 2
    assert (await send(proxy, "GET", path, token)).json()["email"] == person.email


async def test_behind_a_trusted_proxy_each_client_has_its_own(proxy: aiohttp.ClientSession, person: Person) -> None:
    for address in ("198.51.100.1", "198.51.100.2"):
        statuses = [
            (await log_in(proxy, person, WRONG, {"X-Forwarded-For": f"203.0.113.{number}, {address}"})).status
            for number in range(7)
        ]
        assert statuses == [400] * 5 + [429] * 2
    reply = await log_in(proxy, person, person.password, {"X-Forwarded-For": "198.51.100.3"})
    assert reply.status == 200


async def test_neither_retries_nor_refreshes_go_on_without_end(client: aiohttp.ClientSession) -> None:
    tokens = await DOORKEEPER.log_in(client)
    for _ in range(30):
        spent = tokens.refresh_token
        tokens = DOORKEEPER.tokens(await DOORKEEPER.refresh(client, spent))
    retries = [await DOORKEEPER.refresh(client, spent) for _ in range(25)]
    assert [reply.status for reply in retries] == [200] * 20 + [429] * 5
    for refused in (await DOORKEEPER.refresh(client, tokens.refresh_token), retries[-1]):
        assert (refused.status, refused.json()["error"]) == (429, "too_many_requests")
        assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert await DOORKEEPER.accepts(client, tokens.access_token)
