"""`throttles clear`: an operator opens an account that is closed by somebody's guesses."""

import json
import signal

import pytest

from .guesses import Number, address, guess, unique
from .processes import run
from .service import ISSUER


@pytest.fixture
async def strict(start, redis):
    """At one account, twelve attempts in a row from strangers may fail, and two from a known network at any time."""
    return await start(redis_url=redis.url, throttle_exempt="", throttle_login_row=20)


@pytest.fixture
def clear(command, redis, users):
    async def clear(login, url=redis.url, users_url=users.url):
        return await command("throttles", "clear", login, redis_url=url, users_url=users_url, issuer=ISSUER)

    return clear


async def _close(service, party, user):
    """Fail at the account until it is closed to strangers."""
    for _ in range(12):
        assert (await guess(service, party, user, address())).status in (400, 401)
    assert (await guess(service, party, user, address(), user.password)).status == 429


@pytest.mark.parametrize(
    ("dialect", "name"), [("rfc6749", "owner.{n}@example.com"), ("rfc6749", "+49{n}"), ("bongo", "0171{n}")]
)
async def test_an_operator_opens_an_account(strict, parties, clear, dialect, name):
    party, user, home = parties[dialect], strict.users.add(login=name.format(n=f"{unique():07}")), address()
    assert (await guess(strict, party, user, home, user.password)).status in (200, 201)
    await _close(strict, party, user)
    for _ in range(3):
        await guess(strict, party, user, home)
    assert (await guess(strict, party, user, home, user.password)).status == 429
    opened = await clear(user.login)
    assert (opened.status, opened.output) == (0, "cleared\n")
    for place in (home, address()):
        assert (await guess(strict, party, user, place, user.password)).status in (200, 201)
    assert (await clear(user.login)).refusal == "no failed logins are counted at this account"


async def test_what_the_owner_failed_is_forgotten_with_it(strict, parties, clear):
    party, user, home = parties["rfc6749"], strict.users.add(), address()
    assert (await guess(strict, party, user, home, user.password)).status == 200
    for _ in range(2):  # from now on the owner's network counts as unknown
        await guess(strict, party, user, home)
    await clear(user.login)
    await _close(strict, party, user)
    assert (await guess(strict, party, user, home, user.password)).status == 200


async def test_an_account_is_opened_by_any_of_its_names(strict, parties, clear):
    party, user = parties["rfc6749"], strict.users.add()
    other = strict.users.add_name(user, f"somebody.else{unique()}@example.com")
    await _close(strict, party, user)
    assert (await clear(other.login)).output == "cleared\n"
    assert (await guess(strict, party, user, address(), user.password)).status == 200


async def test_both_readings_of_a_number_are_opened_by_it(strict, parties, clear):
    number = Number(strict, 0, 1)
    other = number.spelled[1]
    await _close(strict, parties["bongo"], number.bare)
    assert (await guess(strict, parties["bongo"], other, address(), other.password)).status == 429
    assert (await clear(number.bare.login)).output == "cleared\n"
    for user in (*number.spelled, number.bare):
        assert (await guess(strict, parties["bongo"], user, address(), user.password)).status == 201


async def test_who_opens_an_account_leaves_a_line_that_names_nobody(strict, parties, redis, master_keys):
    user = strict.users.add(login=f"somebody.{unique()}@example.com")
    await guess(strict, parties["rfc6749"], user, address())
    stores = {"redis_url": redis.url, "database_url": strict.database_url, "master_keys": master_keys}
    places = {"issuer": ISSUER, "users_url": strict.users.url}
    status, _, errors = await run("throttles", "clear", user.login, **stores, **places)
    assert status == 0
    assert json.loads(errors)["event"] == "throttle cleared"
    assert "somebody" not in errors


async def test_no_other_account_is_opened_with_it(strict, parties, clear):
    number = f"{unique():07}"
    user = strict.users.add(login=f"+880171{number}")
    await _close(strict, parties["bongo"], user)
    for other in (f"somebody{number}@example.com", f"somebody{number}", "nobody"):
        assert (await clear(other)).refusal == "no failed logins are counted at this account"
    assert (await guess(strict, parties["bongo"], user, address(), user.password)).status == 429


async def test_an_account_that_cannot_be_opened_is_told_why(clear, own_redis):
    assert (await clear("ann", users_url="http://127.0.0.1:9")).refusal == (
        "the account cannot be looked up: user-service: no replica can be reached"
    )
    assert "REDIS_URL" in (await clear("ann", "")).refusal
    assert (await clear("\udcff")).refusal == "the login name contains unprintable characters"
    own_redis.send(signal.SIGSTOP)
    assert (await clear("ann", own_redis.url)).refusal == "Redis cannot clear it: TimeoutError"
    await own_redis.kill()
    assert (await clear("ann", own_redis.url)).refusal == "Redis cannot clear it: ConnectionError"
