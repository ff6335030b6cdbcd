"""Neither the bytes nor the time of an answer reveal why a login failed, or whether a token ever existed."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import aiohttp
import pytest

import operations
from dev.testing import Stack
from drivers import DOORKEEPER, DRIVERS, RFC6749, Driver
from exchange import Reply, post_form, post_json
from members import Member, new_member
from people import Administrator
from registrations import INSPECTOR
from timing import KeptAlive, assert_alike, auc, measure

LOG_INS = 100
INTROSPECTIONS = 500
REVOKED = 10

# Each has a password that is or was right, except the user who has none and the one who mistypes it.
Refused = dict[str, Member]


@pytest.fixture(scope="module")
async def refused(stack: Stack, client: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[Refused]:
    """Members by the reason why they cannot log in."""
    if not stack.has_command_line:
        pytest.skip("the stack under test runs elsewhere, so nobody can be disabled")
    mistaken, disabled, deleted = [await new_member().sign_up(client) for _ in range(3)]
    without = new_member()
    names = ("--email", without.email, "--phone-number", without.phone_number)
    assert (await administrator.delete(deleted.id)).status == 204
    _, added = await asyncio.gather(
        operations.users(stack, "disable", str(disabled.id)), operations.users(stack, "add", *names)
    )
    yield {
        "wrong password": replace(mistaken, password="a passport of fair length"),
        "unknown user": new_member(),
        "disabled user": disabled,
        "user without password": without,
        "deleted user": deleted,
    }
    for user_id in (mistaken.id, disabled.id, added["id"]):
        await administrator.delete(user_id)


@pytest.fixture
def kept_alive(stack: Stack) -> Iterator[KeptAlive]:
    connection = KeptAlive(stack.url)
    yield connection
    connection.close()


def seen(reply: Reply) -> tuple[object, ...]:
    """Everything that a client is told, except what differs between any two answers."""
    headers = [(name, value) for name, value in reply.headers.items() if name.lower() not in ("date", "x-request-id")]
    return reply.status, headers, reply.body


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
async def test_every_refused_log_in_is_answered_in_the_same_bytes(
    client: aiohttp.ClientSession, refused: Refused, driver: Driver
) -> None:
    replies = {why: await post_json(client, driver.path, member.request(driver)) for why, member in refused.items()}
    for reply in replies.values():
        driver.assert_error(reply, *driver.refused_login)
    assert len(replies) == 5
    assert {why: seen(reply) for why, reply in replies.items()} == dict.fromkeys(
        replies, seen(replies["wrong password"])
    )


async def test_every_refused_log_in_takes_as_long_as_any_other(kept_alive: KeptAlive, refused: Refused) -> None:
    def attempt(member: Member) -> None:
        kept_alive.post(RFC6749.path, member.request(RFC6749), 400)

    assert_alike(
        {
            "wrong password": lambda: attempt(refused["wrong password"]),
            "unknown user": lambda: attempt(new_member()),
            "disabled user": lambda: attempt(refused["disabled user"]),
            "user without password": lambda: attempt(refused["user without password"]),
        },
        "wrong password",
        LOG_INS,
    )


async def test_method_tells_an_answer_without_a_hash_from_one_with(kept_alive: KeptAlive, refused: Refused) -> None:
    """A login that is refused before its password is checked, as a careless look-up would do."""
    careful = refused["wrong password"].request(RFC6749)
    careless = {name: value for name, value in careful.items() if name != "password"}
    seconds = measure(
        {
            "careful": lambda: kept_alive.post(RFC6749.path, careful, 400),
            "careless": lambda: kept_alive.post(RFC6749.path, careless, 400),
        },
        20,
    )
    area = auc(seconds["careless"], seconds["careful"])
    print(f"\ncareless look-up: AUC {area:.3f}")
    assert area < 0.225


async def test_introspection_does_not_tell_a_revoked_token_from_one_that_never_was(
    client: aiohttp.ClientSession, kept_alive: KeptAlive, registered: None
) -> None:
    sessions = [await DOORKEEPER.log_in(client) for _ in range(REVOKED)]
    for tokens in sessions:
        form = {**DOORKEEPER.identity, "token": tokens.access_token}
        assert (await post_form(client, "/oauth/revoke", form)).status == 200

    def introspect(token: str) -> None:
        kept_alive.post("/oauth/introspect", {**INSPECTOR.identity, "token": token}, 200)

    assert_alike(
        {
            "revoked token": lambda: introspect(secrets.choice(sessions).access_token),
            "unknown token": lambda: introspect(secrets.token_hex(32)),
        },
        "revoked token",
        INTROSPECTIONS,
    )
    replies = [
        await post_form(client, "/oauth/introspect", {**INSPECTOR.identity, "token": token})
        for token in (sessions[0].access_token, secrets.token_hex(32))
    ]
    assert replies[0].body == b'{"active":false}'
    assert seen(replies[0]) == seen(replies[1])
