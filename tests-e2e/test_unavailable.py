"""While a service or the database hangs, dependent requests get 503, others work, and nobody loses a token."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import aiohttp
import pytest

from dev import testing
from drivers import BONGO, DRIVERS, REFRESHING, RFC6749, Driver, Tokens, assert_problem
from exchange import Reply, bearer, post_form, post_json, send
from marks import needs_own_stack
from operations import family, suspended, until

pytestmark = needs_own_stack

RECOVERY = 10.0
# The gateway's limit for a verdict is one second; the rest is for a busy machine.
VERDICT_WITHIN = 2.5
GOES_ON_WITHIN = 2.0
# auth-service waits ten seconds for a credential check: many may be waiting to be hashed.
LOG_IN_WITHIN = 13.0
# A statement may take four seconds and giving up its connection two; a login spends both at each service.
POSTGRESQL_WITHIN = 14.0

Held = dict[str, Tokens]
Requests = dict[str, Awaitable[Reply]]


@pytest.fixture(scope="module")
def own_stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    with testing.running(new_data_dir()) as stack:
        yield stack


@pytest.fixture
async def http(own_stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(own_stack.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def held(http: aiohttp.ClientSession) -> Held:
    """The tokens of a client of each dialect, by its name, checked to be valid."""
    held = {driver.name: await driver.log_in(http) for driver in DRIVERS}
    for driver in DRIVERS:
        assert await driver.accepts(http, held[driver.name].access_token)
    return held


def log_ins(http: aiohttp.ClientSession, **changes: str) -> Requests:
    return {driver.name: post_json(http, driver.path, driver.password_request(**changes)) for driver in DRIVERS}


def refreshes(http: aiohttp.ClientSession, held: Held) -> Requests:
    return {driver.name: driver.refresh(http, held[driver.name].refresh_token) for driver in REFRESHING}


def protected(http: aiohttp.ClientSession, held: Held) -> Requests:
    """Requests that need a verdict: to auth-service's own routes and user-service's, with a token of each dialect."""
    token = bearer(held[RFC6749.name].access_token)
    change = {"user": {"username": "renamed"}}
    passwords = {"current_password": "password", "password": "another password"}
    return {
        **{f"{name}: sessions": _get(http, "/api/v1/sessions", tokens) for name, tokens in held.items()},
        **{f"{name}: me": _get(http, "/api/v1/users/me", tokens) for name, tokens in held.items()},
        "end a session": send(http, "DELETE", "/api/v1/sessions/current", token),
        "end all sessions": send(http, "DELETE", "/api/v1/sessions", token),
        "change a user": send(http, "PATCH", "/api/v1/users/1", token, json.dumps(change)),
        "change a password": post_json(http, "/api/v1/users/1/password", passwords, token),
        "delete a user": send(http, "DELETE", "/api/v1/users/1", token),
        "add a user": post_json(http, "/api/v1/users", {"user": {"username": "added", "password": "password"}}, token),
        "a token that is none": send(http, "GET", "/api/v1/users/me", bearer("0" * 64)),
    }


def _get(http: aiohttp.ClientSession, path: str, tokens: Tokens) -> Awaitable[Reply]:
    return send(http, "GET", path, bearer(tokens.access_token))


def managed(http: aiohttp.ClientSession, token: str) -> Requests:
    """Revocation and introspection of a token of the standard dialect."""
    form = {**RFC6749.identity, "token": token}
    return {path: post_form(http, path, form) for path in ("/oauth/introspect", "/oauth/revoke")}


def verified_by_bongo(http: aiohttp.ClientSession, user_id: int, token: str) -> Awaitable[Reply]:
    return send(http, "GET", f"/api/oauth/{user_id}/verify-token/v1/", bearer(token))


async def replies(requests: Requests) -> dict[str, Reply]:
    """The replies to requests that are sent at the same time."""
    return dict(zip(requests, await asyncio.gather(*requests.values()), strict=True))


def assert_unavailable(drivers: Iterable[Driver], by_name: dict[str, Reply]) -> None:
    """Check for 503 in the dialect's own form, with the time to retry and no mention of the cause."""
    for driver in drivers:
        driver.assert_error(by_name[driver.name], 503, "temporarily_unavailable")
        assert int(by_name[driver.name].headers["Retry-After"]) >= 1
        by_name[driver.name].assert_silent_about("user-service", "auth-service", "database", "PostgreSQL")


def assert_problems(by_name: dict[str, Reply]) -> None:
    """Check for 503 in the gateway's or user-service's form."""
    assert by_name
    for name, reply in by_name.items():
        assert reply.status == 503, (name, reply)
        assert_problem(reply, 503)
        assert int(reply.headers["Retry-After"]) >= 1


async def recovered(http: aiohttp.ClientSession, held: Held) -> float:
    """Seconds until clients can log in again; no token that was held through the outage is lost."""

    async def all_log_in() -> bool:
        return all(reply.status in (200, 201) for reply in (await replies(log_ins(http))).values())

    seconds = await until(all_log_in, RECOVERY)
    for driver in DRIVERS:
        assert await driver.accepts(http, held[driver.name].access_token), driver.name
    for name, reply in (await replies(refreshes(http, held))).items():
        assert reply.status == 200, (name, reply)
    return seconds


async def test_without_user_service_only_log_ins_and_users_wait(
    own_stack: testing.Stack, http: aiohttp.ClientSession, held: Held
) -> None:
    revoked = await RFC6749.log_in(http)
    bongo_user = (await BONGO.me(http, held[BONGO.name].access_token)).json()["id"]
    with suspended(own_stack.processes()["user_service"]):
        waiting = asyncio.create_task(RFC6749.me(http, held[RFC6749.name].access_token))
        refused = asyncio.create_task(replies(log_ins(http)))
        refused_wrong = asyncio.create_task(replies(log_ins(http, password="not the password")))
        started = time.monotonic()
        going_on = await replies(
            {
                **refreshes(http, held),
                **{f"{name}: sessions": _get(http, "/api/v1/sessions", tokens) for name, tokens in held.items()},
                **managed(http, revoked.access_token),
                "bongo: verify": verified_by_bongo(http, bongo_user, held[BONGO.name].access_token),
                "client": post_form(http, RFC6749.path, {"grant_type": "client_credentials", **RFC6749.client}),
            }
        )
        assert {name: reply.status for name, reply in going_on.items()} == dict.fromkeys(going_on, 200)
        assert time.monotonic() - started < GOES_ON_WITHIN
        assert (await _get(http, "/api/v1/sessions", revoked)).status == 401
        assert not refused.done()
        assert_unavailable(DRIVERS, await refused)
        assert_unavailable(DRIVERS, await refused_wrong)
        assert time.monotonic() - started < LOG_IN_WITHIN
        print(f"\nuser-service hangs: log-ins are refused after {time.monotonic() - started:.1f} s")
    # It had waited in a suspended process, which answers no request from before with anything but 503.
    assert_problem(await waiting, 503)
    print(f"user-service is back: log-ins work after {await recovered(http, held):.1f} s")


async def test_without_auth_service_no_token_is_judged(
    own_stack: testing.Stack, http: aiohttp.ClientSession, held: Held
) -> None:
    with suspended(own_stack.processes()["auth_service"]):
        waiting = asyncio.create_task(replies({**log_ins(http), **managed(http, held[RFC6749.name].access_token)}))
        started = time.monotonic()
        assert_problems(await replies(protected(http, held)))
        seconds = time.monotonic() - started
        assert seconds < VERDICT_WITHIN
        assert not waiting.done()
        print(f"\nauth-service hangs: protected routes are 503 after {seconds:.1f} s")
    assert_problems(await waiting)  # no waiting request is carried out: the token was not revoked either
    print(f"auth-service is back: log-ins work after {await recovered(http, held):.1f} s")


async def test_without_postgresql_nothing_is_refused_for_good(
    own_stack: testing.Stack, http: aiohttp.ClientSession, held: Held
) -> None:
    person = {"email": "while-it-hung@example.com", "password": "a good password"}
    to_revoke = await RFC6749.log_in(http)
    with suspended(*family(own_stack.processes()["postgres"])):
        started = time.monotonic()
        at_endpoints = [log_ins(http), refreshes(http, held)]
        logged_in, refreshed, judged, signed_up, revocation = await asyncio.gather(
            *(replies(requests) for requests in at_endpoints),
            replies(protected(http, held)),
            replies({"sign-up": post_json(http, "/api/v1/users", {"user": person})}),
            replies(managed(http, str(to_revoke.refresh_token))),
        )
        seconds = time.monotonic() - started
        assert seconds < POSTGRESQL_WITHIN
        assert_unavailable(DRIVERS, logged_in)
        assert_unavailable(REFRESHING, refreshed)
        assert_problems(judged)
        assert_problems(signed_up)
        for reply in revocation.values():
            assert_unavailable([RFC6749], {RFC6749.name: reply})
        assert_unavailable([BONGO], {BONGO.name: await verified_by_bongo(http, 1, held[BONGO.name].access_token)})
        assert (await send(http, "GET", "/api/v1/users/me")).challenge == 'Bearer realm="parley"'
        assert (await send(http, "GET", "/.well-known/jwks.json")).status == 200
        print(f"\nPostgreSQL hangs: the last request is refused after {seconds:.1f} s")
    print(f"PostgreSQL is back: log-ins work after {await recovered(http, held):.1f} s")
    # An unacknowledged request may or may not have been carried out; repeated, it succeeds.
    assert (await post_json(http, "/api/v1/users", {"user": person})).status in (200, 409)
    await RFC6749.log_in(http, username=person["email"], password=person["password"])
    for reply in (await replies(managed(http, str(to_revoke.refresh_token)))).values():
        assert reply.status == 200
    assert not await RFC6749.accepts(http, to_revoke.access_token)
