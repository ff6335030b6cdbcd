"""Throttles in general, and those besides logins: the address that counts, the log, and the contents of Redis."""

import json

import pytest

from .guesses import WRONG, address, came_from, guess, statuses, unique
from .service import Party, at_once


async def test_wrong_secrets_are_limited_and_the_client_goes_on(throttled):
    party, home, elsewhere = await throttled[0].register("rfc6749"), address(), address()
    user = throttled[0].users.add()
    assert (await guess(throttled[0], party, user, home, user.password)).status == 200
    thief = Party(party.client_id, "wrong", party.dialect)
    replies = [await guess(throttled[n % 2], thief, user, elsewhere, user.password) for n in range(30)]
    assert statuses(replies) == {401: 20, 429: 10}
    assert (await guess(throttled[0], party, user, elsewhere, user.password)).status == 429, "it is not told"
    for service in throttled:
        for _ in range(30):
            other = service.users.add()
            assert (await guess(service, party, other, home, other.password)).status == 200
    replies = [await guess(throttled[n % 2], thief, user, home, user.password) for n in range(22)]
    assert statuses(replies) == {401: 20, 429: 2}
    for service in throttled:
        assert (await guess(service, party, user, home, user.password)).status == 429, (
            "nor is it told where it is known"
        )


async def test_secrets_are_limited_wherever_one_may_be_tried(throttled):
    party, place = await throttled[0].register("rfc6749"), address()
    form = {"client_id": party.client_id, "client_secret": "wrong", "token": "x"}
    for n, path in enumerate(["/oauth/revoke", "/oauth/introspect"] * 15):
        reply = await throttled[n % 2].request("POST", path, json=form, headers=came_from(place))
        assert reply.status == (401 if n < 20 else 429)


async def test_refused_refreshes_are_limited_and_good_ones_are_not(throttled, parties):
    party, user, place = parties["rfc6749"], throttled[0].users.add(), address()
    login = await guess(throttled[0], party, user, place, user.password)
    replies = [await throttled[n % 2].refresh(party, "x" * 40, came_from(place)) for n in range(310)]
    assert statuses(replies) == {400: 300, 429: 10}
    assert (await throttled[0].refresh(party, login.refresh, came_from(place))).status == 200


async def test_refused_refreshes_of_a_wide_network_are_limited(counting):
    service, share = await counting(throttle_refresh="10/15minute")
    party, group = await service.register("rfc6749"), unique() % 250

    async def refused(place):
        return (await service.refresh(party, "x" * 40, came_from(f"2001:db8:{group}:{place}::1"))).status

    first = [await refused(0) for _ in range(60)]
    assert first == [400] * (10 // share) + [429] * (60 - 10 // share)
    assert await refused(1) == 400, "what is refused takes nothing from the neighbours"
    others = [await refused(2 + n // 5) for n in range(40)]
    assert others.count(400) == 40 // share - 10 // share - 1


async def test_failures_of_ours_use_up_no_attempts(counting, parties):
    service, _ = await counting(throttle_login_attempts="6/minute")
    party, user, place = parties["rfc6749"], service.users.add(), address()

    async def broken(_request):
        raise ConnectionResetError

    service.users.fault = broken
    assert {(await guess(service, party, user, place, user.password)).status for _ in range(30)} == {503}
    service.users.fault = None
    assert (await guess(service, party, user, place, user.password)).status == 200


async def test_introspections_that_find_nothing_are_limited_and_others_are_not(start, parties, redis):
    service = await start(redis_url=redis.url, throttle_exempt="", throttle_introspection="7/minute")
    party, user = await service.register("rfc6749"), service.users.add()
    login = await service.login(party, user)

    async def introspect(token):
        return await service.request("POST", "/oauth/introspect", json={**party.credentials, "token": token})

    assert [(await introspect("unknown")).status for _ in range(9)] == [200] * 7 + [429] * 2
    assert (await introspect(login.access)).json["active"] is True


async def test_an_exempt_network_is_not_counted(throttled, parties):
    user = throttled[0].users.add()
    replies = [await guess(throttled[n % 2], parties["doorkeeper"], user, "198.51.100.7") for n in range(50)]
    assert statuses(replies) == {401: 50}


@pytest.mark.parametrize("gateways", ["", "192.0.2.0/24"])
async def test_who_is_no_gateway_has_its_own_address(start, parties, redis, gateways):
    service = await start(redis_url=redis.url, throttle_exempt="", gateways=gateways)
    user = service.users.add()
    replies = [await guess(service, parties["doorkeeper"], user, address()) for _ in range(8)]
    assert statuses(replies) == {401: 5, 429: 3}


@pytest.mark.parametrize("said", ["203.0.113.{n}, 192.0.2.1", "garbage{n}", "", "203.0.113.{n}:80"])
async def test_what_no_gateway_writes_is_not_believed(start, parties, redis, said):
    service = await start(redis_url=redis.url, throttle_exempt="")
    user = service.users.add()
    replies = [await guess(service, parties["doorkeeper"], user, said.format(n=n)) for n in range(8)]
    assert statuses(replies) == {401: 5, 429: 3}


async def test_an_ipv6_network_is_a_64(throttled, parties):
    party, user = parties["doorkeeper"], throttled[0].users.add()
    places = [f"2001:db8:0:1::{n:x}" for n in range(1, 7)]
    assert [(await guess(throttled[0], party, user, place)).status for place in places] == [401] * 5 + [429]
    assert (await guess(throttled[0], party, user, "2001:db8:0:2::1")).status == 401


@pytest.fixture
async def alarmed(start, own_redis, log):
    """A service that raises an alarm at forty failures, and a function that counts the alarms raised so far."""
    service, before = await start(redis_url=own_redis.url, throttle_exempt="", throttle_login_alarm="40"), log.tell()

    def alarms():
        return log.getvalue()[before:].count('"event": "more failures than successes"')

    return service, alarms


async def test_many_failures_of_many_accounts_from_many_networks_raise_an_alarm(alarmed, parties):
    (service, alarms), party = alarmed, parties["doorkeeper"]
    await at_once(*(guess(service, party, service.users.add(), address()) for _ in range(40)))
    user, place = service.users.add(), address()
    assert [(await guess(service, party, user, place)).status for _ in range(4)] == [401] * 3 + [429]
    assert alarms() == 1


async def test_logins_to_one_s_own_account_silence_no_alarm(alarmed, parties):
    (service, alarms), party = alarmed, parties["doorkeeper"]
    own = service.users.add()
    for _ in range(41):
        assert (await guess(service, party, own, address(), own.password)).status == 200
        await guess(service, party, service.users.add(), address())
    await guess(service, party, service.users.add(), address())
    assert alarms() == 1


async def test_where_more_accounts_succeed_than_logins_fail_there_is_no_alarm(alarmed, parties):
    (service, alarms), party = alarmed, parties["doorkeeper"]
    for _ in range(42):
        user = service.users.add()
        assert (await guess(service, party, user, address(), user.password)).status == 200
    for _ in range(42):
        await guess(service, party, service.users.add(), address())
    assert alarms() == 0


async def test_right_secrets_of_a_disabled_client_are_no_guesses(throttled, command, parties):
    service, place = throttled[0], address()
    party, user = await service.register("rfc6749"), service.users.add()

    async def switch(verb):
        ended = await command("clients", verb, party.client_id, database_url=service.database_url)
        assert ended.status == 0

    async def log_in(who=party):
        return (await guess(service, who, user, place, user.password)).status

    await switch("disable")
    assert [await log_in() for _ in range(25)] == [401] * 25
    await switch("enable")
    assert await log_in() == 200
    await switch("disable")
    thief = Party(party.client_id, "wrong", party.dialect)
    assert [await log_in(thief) for _ in range(22)] == [401] * 20 + [429] * 2
    assert await log_in() == 429, "it is not told"


async def test_few_failures_are_remembered_for_a_shorter_time(throttled, parties, redis):
    """A password spray over many names must not fill Redis for weeks."""
    before = await redis.lifetimes()
    user = throttled[0].users.add()

    async def longest():
        lifetimes = await redis.lifetimes()
        return max(lifetimes[key] for key in lifetimes.keys() - before.keys())

    for _ in range(4):
        await guess(throttled[0], parties["rfc6749"], user, address())
    assert await longest() <= 2 * 86_400_000
    await guess(throttled[0], parties["rfc6749"], user, address())
    assert 29 * 86_400_000 < await longest() <= 30 * 86_400_000


async def test_every_key_has_a_lifetime_and_none_a_name(throttled, parties, redis):
    user, place = throttled[0].users.add(login="somebody@example.com"), address()
    for password in (WRONG, user.password, *[WRONG] * 7):
        await guess(throttled[0], parties["rfc6749"], user, place, password)
    lifetimes = await redis.lifetimes()
    assert len(lifetimes) > 4
    assert min(lifetimes.values()) > 0
    assert not [key for key in lifetimes if "somebody" in key or "example" in key]


async def test_each_refusal_is_one_event_and_counted(start, parties, redis, log):
    service, before = await start(redis_url=redis.url, throttle_exempt=""), log.tell()
    party, place = parties["rfc6749"], address()
    user = service.users.add()
    for _ in range(8):
        await guess(service, party, user, place)
    counters = (await service.request("GET", "/stats")).json["counters"]
    assert (counters["login admitted"], counters["login failed"], counters["login throttled"]) == (5, 5, 3)
    written = log.getvalue()[before:].splitlines()
    lines = [json.loads(line) for line in written if '"attempt throttled"' in line]
    assert len(lines) == 3
    for line in lines:
        assert line["kind"] == "login"
        assert line["budget"] == "account and network"
        assert (line["address"], line["client_id"]) == (place, party.client_id)
        assert 1 <= line["retry_after"] <= 900
    refused = [json.loads(line) for line in written if '"grant refused"' in line]
    assert [line["address"] for line in refused] == [place] * 5
    assert not any(WRONG in line for line in written)
