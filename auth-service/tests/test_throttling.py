"""Throttles beside those of logins, and of all of them: whose address counts, what is logged, what Redis keeps."""

import json

import pytest

from .guesses import WRONG, address, came_from, guess, statuses
from .service import Party, at_once

LOGINS = {"rfc6749": "locked.out@example.com", "bongo": "+8801712345000"}


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
            assert (await guess(service, party, user, home, user.password)).status == 200
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


async def test_many_failures_of_many_accounts_from_many_networks_raise_an_alarm(start_process, parties, own_redis):
    process, service = await start_process(redis_url=own_redis.url, throttle_exempt="", throttle_login_alarm="40")
    party = parties["doorkeeper"]
    await at_once(*(guess(service, party, service.users.add(), address()) for _ in range(40)))
    user, place = service.users.add(), address()
    assert [(await guess(service, party, user, place)).status for _ in range(4)] == [401] * 3 + [429]
    assert process.output.count('"event": "more failures than successes"') == 1


async def test_every_key_has_a_lifetime_and_none_a_name(throttled, parties, redis):
    user, place = throttled[0].users.add(login="somebody@example.com"), address()
    for password in (WRONG, user.password, *[WRONG] * 7):
        await guess(throttled[0], parties["rfc6749"], user, place, password)
    lifetimes = await redis.lifetimes()
    assert len(lifetimes) > 4
    assert min(lifetimes.values()) > 0
    assert not [key for key in lifetimes if "somebody" in key or "example" in key]


@pytest.mark.parametrize("dialect", ["rfc6749", "bongo"])
async def test_an_operator_opens_an_account(throttled, parties, command, redis, dialect):
    party, user, home, place = parties[dialect], throttled[0].users.add(login=LOGINS[dialect]), address(), address()
    assert (await guess(throttled[0], party, user, home, user.password)).status in (200, 201)
    for _ in range(25):
        await guess(throttled[0], party, user, address())
    for _ in range(8):
        await guess(throttled[0], party, user, home)
    for here in (home, place):
        assert (await guess(throttled[0], party, user, here, user.password)).status == 429
    for said in ("cleared\n", "nothing was counted at this account\n"):
        ended = await command("throttles", "clear", user.login, redis_url=redis.url)
        assert (ended.status, ended.output) == (0, said)
    for here in (home, place):
        assert (await guess(throttled[0], party, user, here, user.password)).status in (200, 201)


async def test_an_account_that_cannot_be_opened_is_told_why(command):
    assert "REDIS_URL" in (await command("throttles", "clear", "ann")).refusal
    assert (
        "Redis cannot be reached"
        in (await command("throttles", "clear", "ann", redis_url="redis://127.0.0.1:1")).refusal
    )


async def test_each_refusal_is_one_event_and_counted(start_process, parties, redis):
    process, service = await start_process(redis_url=redis.url, throttle_exempt="")
    party, place = parties["rfc6749"], address()
    user = service.users.add()
    for _ in range(8):
        await guess(service, party, user, place)
    lines = [json.loads(line) for line in process.output.splitlines() if '"attempt throttled"' in line]
    assert len(lines) == 3
    for line in lines:
        assert line["kind"] == "login"
        assert line["budget"] == "account and network"
        assert (line["address"], line["client_id"]) == (place, party.client_id)
        assert 1 <= line["retry_after"] <= 900
    refused = [json.loads(line) for line in process.output.splitlines() if '"grant refused"' in line]
    assert [line["address"] for line in refused] == [place] * 5
    assert WRONG not in process.output
    counters = (await service.request("GET", "/stats")).json["counters"]
    assert (counters["login admitted"], counters["login failed"], counters["login throttled"]) == (5, 5, 3)
