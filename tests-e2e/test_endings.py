"""Sessions of every dialect end at once on a new password, a new role, disabling, deletion and logout."""

import asyncio
import itertools
import json
import secrets
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

import operations
from dev.testing import Stack
from drivers import BONGO, DOORKEEPER, DOORKEEPER_JWT, DRIVERS, REFRESHING, RFC6749, Driver, Tokens
from exchange import Reply, bearer, post_json, send
from members import Member, assert_accepted, assert_refused, new_member

SESSIONS = "/api/v1/sessions"
# The command line does not wait until auth-service has applied its change.
HEARD_WITHIN = 3.0

# The dialect of the acting session: one for each form of access token. Sessions of all dialects are checked.
by_dialect = pytest.mark.parametrize("driver", [RFC6749, DOORKEEPER_JWT, DOORKEEPER], ids=lambda driver: driver.name)


@pytest.fixture
async def member(client: aiohttp.ClientSession, admin_token: str) -> AsyncIterator[Member]:
    """A new user, deleted after the test."""
    member = await new_member().sign_up(client)
    yield member
    await send(client, "DELETE", f"/api/v1/users/{member.id}", bearer(admin_token))


@pytest.fixture
def machine(stack: Stack) -> Stack:
    """The stack, if its command lines can be run."""
    if not stack.has_command_line:
        pytest.skip("the stack under test runs elsewhere, so it has no command line here")
    return stack


async def change_password(client: aiohttp.ClientSession, member: Member, token: str, new: str) -> Reply:
    body = {"current_password": member.password, "password": new}
    return await post_json(client, f"/api/v1/users/{member.id}/password", body, bearer(token))


async def assert_all_refused(client: aiohttp.ClientSession, sessions: dict[str, Tokens]) -> None:
    await asyncio.gather(*(assert_refused(client, driver, sessions[driver.name]) for driver in DRIVERS))


async def assert_log_ins(client: aiohttp.ClientSession, member: Member, *, refused: bool) -> None:
    """Check that every dialect refuses this member's login, or that every dialect accepts it."""
    for driver in DRIVERS:
        reply = await post_json(client, driver.path, member.request(driver))
        if refused:
            driver.assert_error(reply, *driver.refused_login)
        else:
            driver.tokens(reply)


@by_dialect
async def test_new_password_ends_every_session_but_the_one_that_set_it(
    client: aiohttp.ClientSession, member: Member, driver: Driver
) -> None:
    others = await member.log_in_everywhere(client)
    current = await member.log_in(client, driver)
    new = "another password of fair length"
    assert (await change_password(client, member, current.access_token, new)).status == 204
    await assert_all_refused(client, others)
    await assert_accepted(client, driver, current)
    driver.assert_error(await post_json(client, driver.path, member.request(driver)), *driver.refused_login)
    driver.tokens(await post_json(client, driver.path, member.request(driver, password=new)))


async def test_refused_password_change_ends_nothing(client: aiohttp.ClientSession, member: Member) -> None:
    sessions = await member.log_in_everywhere(client)
    wrong = replace(member, password="not the password at all")
    assert (await change_password(client, wrong, sessions["rfc6749"].access_token, "whatever it is")).status == 422
    for driver in DRIVERS:
        await assert_accepted(client, driver, sessions[driver.name])


async def test_no_session_of_the_old_password_survives_a_race_with_the_new_one(
    client: aiohttp.ClientSession, member: Member
) -> None:
    outcomes: Counter[int] = Counter()
    for old, new in itertools.pairwise([member.password, *(f"password number {number}" for number in range(6))]):
        before = replace(member, password=old)
        current = await before.log_in(client, RFC6749)
        rotating = await before.log_in(client, DOORKEEPER)
        change = asyncio.create_task(change_password(client, before, current.access_token, new))
        raced = await asyncio.gather(
            *(_log_in_until(change, client, before, driver) for driver in DRIVERS),
            _refresh_until(change, client, rotating),
        )
        assert (await change).status == 204
        for driver, reply in itertools.chain.from_iterable(raced):
            outcomes[reply.status] += 1
            if reply.status == driver.status:
                await assert_refused(client, driver, driver.tokens(reply))
        await assert_accepted(client, RFC6749, current)
    print(f"\nanswers to log-ins and refreshes that raced with a new password: {dict(outcomes)}")
    assert outcomes.keys() <= {200, 201, 400, 401}
    assert outcomes[200] > 10


Raced = list[tuple[Driver, Reply]]


async def _log_in_until(
    change: asyncio.Task[Reply], client: aiohttp.ClientSession, member: Member, driver: Driver
) -> Raced:
    """Log in repeatedly until the change is answered."""
    replies: Raced = []
    while not change.done():
        replies.append((driver, await post_json(client, driver.path, member.request(driver))))
    return replies


async def _refresh_until(change: asyncio.Task[Reply], client: aiohttp.ClientSession, tokens: Tokens) -> Raced:
    """Refresh repeatedly until the change is answered or the session has ended."""
    replies: Raced = []
    while not change.done():
        reply = await DOORKEEPER.refresh(client, tokens.refresh_token)
        replies.append((DOORKEEPER, reply))
        if reply.status != 200:
            break
        tokens = DOORKEEPER.tokens(reply)
    return replies[-1:]  # earlier refresh tokens are spent; using one would end the session by itself


async def list_users(client: aiohttp.ClientSession, tokens: Tokens) -> int:
    """The status of a request that only an admin may make."""
    return (await send(client, "GET", "/api/v1/users", bearer(tokens.access_token))).status


async def test_new_role_ends_every_session_and_holds_at_once(
    client: aiohttp.ClientSession, member: Member, admin_token: str
) -> None:
    headers = {**bearer(admin_token), "Content-Type": "application/json"}
    before = await member.log_in_everywhere(client)
    assert {await list_users(client, tokens) for tokens in before.values()} == {403}
    for role, status in (("admin", 200), ("default", 403)):
        change = json.dumps({"user": {"role": role}})
        reply = await send(client, "PATCH", f"/api/v1/users/{member.id}", headers, change)
        assert (reply.status, reply.json()["role"]) == (200, role)
        await assert_all_refused(client, before)
        before = await member.log_in_everywhere(client)
        assert {await list_users(client, tokens) for tokens in before.values()} == {status}


@pytest.mark.parametrize("by", ["the user", "an admin"])
async def test_deleted_user_is_gone_and_leaves_the_address(
    client: aiohttp.ClientSession, member: Member, admin_token: str, by: str
) -> None:
    sessions = await member.log_in_everywhere(client)
    token = admin_token if by == "an admin" else sessions["cubux"].access_token
    assert (await send(client, "DELETE", f"/api/v1/users/{member.id}", bearer(token))).status == 204
    await assert_all_refused(client, sessions)
    await assert_log_ins(client, member, refused=True)
    assert (await send(client, "GET", f"/api/v1/users/{member.id}", bearer(admin_token))).status == 404

    successor = await member.sign_up(client)
    assert successor.id != member.id
    await assert_all_refused(client, sessions)
    await assert_log_ins(client, successor, refused=False)
    await send(client, "DELETE", f"/api/v1/users/{successor.id}", bearer(admin_token))


@by_dialect
async def test_logging_out_ends_one_session(client: aiohttp.ClientSession, member: Member, driver: Driver) -> None:
    others = await member.log_in_everywhere(client)
    current = await member.log_in(client, driver)
    assert (await send(client, "DELETE", f"{SESSIONS}/current", bearer(current.access_token))).status == 204
    await assert_refused(client, driver, current)
    for other in DRIVERS:
        await assert_accepted(client, other, others[other.name])


async def test_one_session_ends_another_of_the_same_user_only(
    client: aiohttp.ClientSession, member: Member, admin_token: str
) -> None:
    sessions = await member.log_in_everywhere(client)
    standard = bearer(sessions["rfc6749"].access_token)
    listed = (await send(client, "GET", SESSIONS, standard)).json()["sessions"]
    assert Counter(session["client_id"] for session in listed) == Counter(driver.client_id for driver in DRIVERS)
    [bongo] = [session["id"] for session in listed if session["client_id"] == BONGO.client_id]
    assert (await send(client, "DELETE", f"{SESSIONS}/{bongo}", bearer(admin_token))).status == 404
    await assert_accepted(client, BONGO, sessions["bongo"])
    assert (await send(client, "DELETE", f"{SESSIONS}/{bongo}", standard)).status == 204
    await assert_refused(client, BONGO, sessions["bongo"])
    for driver in REFRESHING:
        await assert_accepted(client, driver, sessions[driver.name])


@by_dialect
async def test_ending_all_sessions_ends_the_current_one_too(
    client: aiohttp.ClientSession, member: Member, driver: Driver
) -> None:
    sessions = await member.log_in_everywhere(client)
    token = bearer(sessions[driver.name].access_token)
    assert (await send(client, "DELETE", SESSIONS, token)).status == 204
    await assert_all_refused(client, sessions)
    await assert_log_ins(client, member, refused=False)


async def test_user_disabled_by_an_operator(client: aiohttp.ClientSession, machine: Stack, member: Member) -> None:
    sessions = await member.log_in_everywhere(client)
    assert (await operations.users(machine, "disable", str(member.id)))["disabled"] is True

    async def unheard() -> bool:
        return (await send(client, "GET", SESSIONS, bearer(sessions["doorkeeper"].access_token))).status == 401

    print(f"\nsessions of a disabled user end after {await operations.until(unheard, HEARD_WITHIN):.2f} s")
    await assert_all_refused(client, sessions)
    await assert_log_ins(client, member, refused=True)
    assert (await operations.users(machine, "enable", str(member.id)))["disabled"] is False
    await assert_all_refused(client, sessions)
    await assert_log_ins(client, member, refused=False)


async def test_user_added_by_an_operator_logs_in(
    client: aiohttp.ClientSession, machine: Stack, admin_token: str
) -> None:
    member = new_member()
    names = ("--email", member.email, "--phone-number", member.phone_number)
    added = await operations.users(machine, "add", *names, "--password-stdin", stdin=member.password + "\n")
    await assert_log_ins(client, member, refused=False)
    assert (await send(client, "DELETE", f"/api/v1/users/{added['id']}", bearer(admin_token))).status == 204


async def test_client_disabled_by_an_operator(client: aiohttp.ClientSession, machine: Stack, member: Member) -> None:
    # One client with opaque tokens, one with signed tokens: refusing a disabled client does not depend on the dialect.
    drivers = await asyncio.gather(*(operations.register_like(machine, driver) for driver in (DOORKEEPER, RFC6749)))
    sessions = [await member.log_in(client, driver) for driver in drivers]
    untouched = await member.log_in_everywhere(client)
    disable = ("auth_service", "clients", "disable")
    await asyncio.gather(*(operations.command(machine, *disable, driver.client_id) for driver in drivers))
    for driver, tokens in zip(drivers, sessions, strict=True):
        assert not await driver.accepts(client, tokens.access_token), driver.name
        driver.assert_error(await post_json(client, driver.path, member.request(driver)), 401, "invalid_client")
        if driver.refreshes:
            driver.assert_error(await driver.refresh(client, tokens.refresh_token), 401, "invalid_client")
    for driver in DRIVERS:
        await assert_accepted(client, driver, untouched[driver.name])


SPELLINGS = {
    "email": ["straße-{}@bücher.example", "STRASSE-{}@Bücher.EXAMPLE", "Straße-{}@xn--bcher-kva.example"],
    "username": ["Ångström {}", "ÅNGSTRÖM {}", unicodedata.normalize("NFD", "ångström {}"), "\u212bngström {}"],
    "phone_number": ["+88018{}", "+880 18 {}", "+880-18-{}", "+880 (18) {}"],
}


@pytest.mark.parametrize("kind", SPELLINGS)
async def test_of_a_hundred_sign_ups_of_one_identity_one_is_accepted(
    client: aiohttp.ClientSession, admin_token: str, kind: str
) -> None:
    number = f"{secrets.randbelow(10**8):08d}"
    spellings = [SPELLINGS[kind][attempt % len(SPELLINGS[kind])].format(number) for attempt in range(100)]
    bodies = [{"user": {kind: spelling, "password": f"password {n:06d}"}} for n, spelling in enumerate(spellings)]
    replies = await asyncio.gather(*(post_json(client, "/api/v1/users", body) for body in bodies))
    assert Counter(reply.status for reply in replies) == {200: 1, 409: 99}
    assert {reply.json()["errors"][0]["field"] for reply in replies if reply.status == 409} == {f"user.{kind}"}
    [winner] = [attempt for attempt, reply in enumerate(replies) if reply.status == 200]
    for spelling in set(spellings):
        await RFC6749.log_in(client, username=spelling, password=f"password {winner:06d}")
        reply = await post_json(
            client, RFC6749.path, RFC6749.password_request(username=spelling, password=f"password {winner ^ 1:06d}")
        )
        RFC6749.assert_error(reply, 400, "invalid_grant")
    user_id = replies[winner].json()["id"]
    assert (await send(client, "DELETE", f"/api/v1/users/{user_id}", bearer(admin_token))).status == 204
