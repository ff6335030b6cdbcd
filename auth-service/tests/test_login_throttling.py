"""Guesses are refused before anything is hashed, on every replica, and nobody is locked out by another's guesses."""

import asyncio
import time

import pytest

from .guesses import address, evaluated, guess, statuses, unique
from .service import at_once


async def test_two_hundred_wrong_logins_at_once_over_two_replicas(throttled, party):
    user, place = throttled[0].users.add(), address()
    replies = await at_once(*(guess(throttled[n % 2], party, user, place) for n in range(200)))
    # Five; on a machine so busy that a process reaches Redis late, also half of that in each process.
    assert 5 <= evaluated(throttled[0], user) <= 5 + 2 * 3
    assert statuses(replies)[429] == 200 - evaluated(throttled[0], user)


async def test_fifty_right_logins_at_once_all_pass(throttled, parties):
    user, place = throttled[0].users.add(), address()
    replies = await at_once(
        *(guess(throttled[n % 2], parties["rfc6749"], user, place, user.password) for n in range(50))
    )
    assert statuses(replies) == {200: 50}


@pytest.fixture
def three_names(throttled):
    """A user with three login names, as three users who each log in by one of them."""
    users = throttled[0].users
    user = users.add()
    return [user, users.add_name(user, f"+49171{unique():07}"), users.add_name(user, f"somebody{unique()}@example.com")]


async def test_two_hundred_wrong_logins_at_once_over_three_names_of_one_user(throttled, parties, three_names):
    place = address()
    replies = await at_once(
        *(guess(throttled[n % 2], parties["rfc6749"], three_names[n % 3], place) for n in range(200))
    )
    found = sum(evaluated(throttled[0], named) for named in three_names)
    assert 5 <= found <= 5 + 2 * 3
    assert statuses(replies) == {400: found, 429: 200 - found}


async def test_a_user_is_known_and_forgiven_under_every_name(throttled, parties, three_names):
    party, home = parties["rfc6749"], address()
    assert (await guess(throttled[0], party, three_names[0], home, three_names[0].password)).status == 200
    for n in range(40):
        await guess(throttled[n % 2], party, three_names[n % 3], address())
    assert (await guess(throttled[0], party, three_names[1], address(), three_names[1].password)).status == 429
    assert (await guess(throttled[1], party, three_names[2], home, three_names[2].password)).status == 200
    assert (await guess(throttled[0], party, three_names[1], address())).status == 400


@pytest.mark.parametrize("place", ["2001:db8:{group}:{n:x}::1", "10.77.{group}.{n}"])
async def test_a_wide_network_may_guess_four_times_as_often_as_a_network(start, parties, redis, place):
    """Here the account's own budget is too large to matter."""
    service = await start(redis_url=redis.url, throttle_exempt="", throttle_login_account=1000)
    party, user, group = parties["doorkeeper"], service.users.add(), unique() % 250
    replies = [await guess(service, party, user, place.format(group=group, n=n)) for n in range(200)]
    assert statuses(replies) == {401: 20, 429: 180}
    assert (await guess(service, party, user, address())).status == 401


@pytest.mark.parametrize("place", ["2001:db8:{group}:{n:x}::1", "10.88.{group}.{n}"])
async def test_and_so_it_may_at_all_accounts_together(start, parties, redis, place):
    service = await start(redis_url=redis.url, throttle_exempt="", throttle_login_network="10/15minute")
    party, group, user = parties["doorkeeper"], unique() % 250, service.users.add()
    home = place.format(group=group, n=0)
    assert (await guess(service, party, user, home, user.password)).status == 200
    replies = [
        await guess(service, party, service.users.add(), place.format(group=group, n=n // 4)) for n in range(200)
    ]
    assert statuses(replies) == {401: 40, 429: 160}
    assert (await guess(service, party, user, home, user.password)).status == 200, "it is known there"


async def test_right_logins_of_one_network_at_one_account_are_limited_too(throttled, party):
    user, place = throttled[0].users.add(), address()
    replies = [await guess(throttled[n % 2], party, user, place, user.password) for n in range(66)]
    assert [reply.status for reply in replies] == [replies[0].status] * 60 + [429] * 6
    assert evaluated(throttled[0], user) == 60
    assert replies[-1].json["error"] == "too_many_requests"
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 120
    elsewhere = await guess(throttled[0], party, user, address(), user.password)
    other = throttled[0].users.add()
    neighbour = await guess(throttled[0], party, other, place, other.password)
    assert elsewhere.status == neighbour.status == replies[0].status in (200, 201)


@pytest.mark.parametrize("place", ["2001:db8:{group}:{n:x}::1", "10.99.{group}.{n}"])
async def test_right_logins_of_a_wide_network_are_limited_to_four_times_as_many(throttled, parties, place):
    user, group = throttled[0].users.add(), unique() % 250
    places = [place.format(group=group, n=n // 25) for n in range(250)]
    replies = [
        await guess(throttled[n % 2], parties["rfc6749"], user, place, user.password) for n, place in enumerate(places)
    ]
    assert [reply.status for reply in replies] == [200] * 240 + [429] * 10


async def test_a_hundred_and_one_guesses_from_as_many_networks(throttled, parties):
    user = throttled[0].users.add()
    replies = [await guess(throttled[n % 2], parties["rfc6749"], user, address()) for n in range(101)]
    assert replies[-1].status == 429
    assert 20 <= evaluated(throttled[0], user) <= 100
    waits = [int(reply.headers["Retry-After"]) for reply in replies if reply.status == 429]
    assert 1 <= min(waits) <= max(waits) <= 900


async def test_never_more_than_a_hundred_guesses_in_a_row(start, parties, redis):
    """Without pauses between them: sixty from strangers, and ten from each of the four most recent known networks."""
    service = await start(
        redis_url=redis.url, throttle_exempt="", throttle_login_account=1000, throttle_login_pair="100/minute"
    )
    party, user = parties["rfc6749"], service.users.add()
    homes = [address() for _ in range(6)]
    for home in homes:
        assert (await guess(service, party, user, home, user.password)).status == 200
    before = evaluated(service, user)
    for _ in range(50):
        await at_once(*(guess(service, party, user, place) for place in (*homes, address(), address())))
        for key in await redis.client.keys("parley:throttle:login:account:*"):
            await redis.client.hset(key, "closed_until", 0)
    assert evaluated(service, user) - before == 100
    assert {(await guess(service, party, user, home, user.password)).status for home in homes} == {429}


async def test_an_attacker_does_not_keep_the_owner_out(throttled, parties):
    party, user, home = parties["doorkeeper"], throttled[0].users.add(), address()
    assert (await guess(throttled[0], party, user, home, user.password)).status == 200
    places, attacked = [address() for _ in range(500)], asyncio.Event()
    turns = iter(range(3_000))

    async def attack():
        for turn in turns:
            reply = await guess(throttled[turn % 2], party, user, places[turn % 500])
            assert reply.status in (401, 429)
            if turn > 500:
                attacked.set()

    attackers = [asyncio.create_task(attack()) for _ in range(20)]
    await attacked.wait()
    seconds = []
    while not all(task.done() for task in attackers) and len(seconds) < 50:  # sixty a minute are allowed
        started = time.monotonic()
        # The first attempt is at the replica that has not seen the owner yet.
        reply = await guess(throttled[(len(seconds) + 1) % 2], party, user, home, user.password)
        assert reply.status == 200
        seconds.append(time.monotonic() - started)
    await asyncio.gather(*attackers)
    assert len(seconds) > 10
    assert max(seconds) < 2


async def test_the_owner_s_own_budget_is_small_too(throttled, parties):
    party, user, home = parties["doorkeeper"], throttled[0].users.add(), address()
    await guess(throttled[0], party, user, home, user.password)
    replies = [await guess(throttled[n % 2], party, user, home) for n in range(8)]
    assert [reply.status for reply in replies] == [401] * 5 + [429] * 3


async def test_success_clears_the_pair(throttled, parties):
    party, user, place = parties["doorkeeper"], throttled[0].users.add(), address()
    for _ in range(3):
        for n in range(4):
            assert (await guess(throttled[n % 2], party, user, place)).status == 401
        assert (await guess(throttled[0], party, user, place, user.password)).status == 200


async def test_many_accounts_from_one_network(throttled, parties):
    party, place = parties["doorkeeper"], address()
    user = throttled[0].users.add()
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200
    replies = [await guess(throttled[n % 2], party, throttled[0].users.add(), place) for n in range(105)]
    assert statuses(replies) == {401: 100, 429: 5}
    assert (await guess(throttled[0], party, throttled[0].users.add(), address())).status == 401
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200, "it is known there"
