"""Guessing is stopped before anything is hashed, on every replica, and nobody is locked out by somebody else."""

import asyncio
import itertools
import json
import time
from collections import Counter

import pytest
from aiohttp import web

from timing import KeptAlive, assert_alike

from .service import LOGIN, Party, at_once

WRONG = "not the password"
_hosts = itertools.count(1)


def address():
    """An IPv4 address that no other test comes from."""
    number = next(_hosts)
    return f"203.{number // 65536}.{number // 256 % 256}.{number % 256}"


def came_from(place):
    return {"X-Forwarded-For": place}


async def guess(service, party, user, place, password=WRONG):
    return await service.login(party, user, headers=came_from(place), password=password)


def evaluated(service, user):
    return sum(check["login"] == user.login for check in service.users.checks)


def statuses(replies):
    return Counter(reply.status for reply in replies)


async def test_two_hundred_wrong_logins_at_once_over_two_replicas(throttled, party):
    user, place = throttled[0].users.add(), address()
    replies = await at_once(*(guess(throttled[n % 2], party, user, place) for n in range(200)))
    # Five; on a machine so busy that a process finds Redis late, half of that in each process besides.
    assert 5 <= evaluated(throttled[0], user) <= 5 + 2 * 3
    assert statuses(replies)[429] == 200 - evaluated(throttled[0], user)


async def test_fifty_right_logins_at_once_all_pass(throttled, parties):
    user, place = throttled[0].users.add(), address()
    replies = await at_once(
        *(guess(throttled[n % 2], parties["rfc6749"], user, place, user.password) for n in range(50))
    )
    assert statuses(replies) == {200: 50}


async def test_a_hundred_and_one_guesses_from_as_many_networks(throttled, parties):
    user = throttled[0].users.add()
    replies = [await guess(throttled[n % 2], parties["rfc6749"], user, address()) for n in range(101)]
    assert replies[-1].status == 429
    assert 20 <= evaluated(throttled[0], user) <= 100
    waits = [int(reply.headers["Retry-After"]) for reply in replies if reply.status == 429]
    assert 1 <= min(waits) <= max(waits) <= 900


async def test_never_more_than_a_hundred_guesses_in_a_row(start, parties, redis):
    """With no pauses between them: sixty from strangers, and ten from each of the four networks known last."""
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
    turns = iter(range(10_000))

    async def attack():
        for turn in turns:
            reply = await guess(throttled[turn % 2], party, user, places[turn % 500])
            assert reply.status in (401, 429)
            if turn > 500:
                attacked.set()

    attackers = [asyncio.create_task(attack()) for _ in range(20)]
    await attacked.wait()
    seconds = []
    while not all(task.done() for task in attackers):
        started = time.monotonic()
        # First where nobody has seen the owner yet.
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


async def test_the_right_password_is_answered_like_a_wrong_one(throttled, party):
    user, place = throttled[0].users.add(), address()
    for _ in range(5):
        await guess(throttled[0], party, user, place)
    before = evaluated(throttled[0], user)
    right, wrong = [await guess(throttled[1], party, user, place, word) for word in (user.password, WRONG)]
    assert right.status == wrong.status == 429
    assert right.body == wrong.body
    assert set(right.headers) == set(wrong.headers)
    assert evaluated(throttled[0], user) == before


WORDS = {
    "rfc6749": lambda body: body["error"] == "too_many_requests" and "error_description" in body,
    "doorkeeper_jwt": lambda body: body["error"] == "too_many_requests" and "error_description" in body,
    "cubux": lambda body: body["error"] == "too_many_requests",
    "doorkeeper": lambda body: body["error"] == "too_many_requests" and "error_message" in body,
    "passport": lambda body: body["error"] == "too_many_requests" and body["message"].startswith("There were"),
    "bongo": lambda body: (body["status"], body["error"], body["causes"]) == (429, "too_many_requests", None),
}


async def test_each_dialect_says_so_in_its_own_form(throttled, party):
    user, place = throttled[0].users.add(), address()
    replies = [
        await throttled[0].login(party, user, headers={**came_from(place), "language": "en"}, password=WRONG)
        for _ in range(6)
    ]
    assert replies[-1].status == 429
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 900
    assert replies[-1].headers["Content-Type"] == replies[0].headers["Content-Type"]
    assert WORDS[party.dialect](replies[-1].json)


async def test_an_unknown_account_is_throttled_like_a_known_one(throttled, party):
    user, place = throttled[0].users.add(), address()
    nobody = throttled[0].users.add()
    del throttled[0].users.users[nobody.login]
    answers = []
    for who in (user, nobody):
        for n in range(7):
            reply = await guess(throttled[n % 2], party, who, place)
            answers.append((reply.status, reply.body, set(reply.headers)))
    assert answers[:7] == answers[7:]


async def test_nor_does_the_time_tell_them_apart_while_throttled(throttled, parties):
    service, party = throttled[0], parties["rfc6749"]
    user, nobody = service.users.add(), service.users.add()
    del service.users.users[nobody.login]
    for who in (user, nobody):
        for _ in range(5):
            await service.login(party, who, password=WRONG)
    connection = KeptAlive(service.url)

    def attempt(login, password):
        form = {**party.credentials, "grant_type": "password", "username": login, "password": password}
        connection.post(party.path, form, 429)

    def measure():
        assert_alike(
            {
                "known": lambda: attempt(user.login, WRONG),
                "unknown": lambda: attempt(nobody.login, WRONG),
                "right": lambda: attempt(user.login, user.password),
            },
            "known",
            500,
        )

    try:
        await asyncio.to_thread(measure)
    finally:
        connection.close()


async def test_many_accounts_from_one_network(throttled, parties):
    party, place = parties["doorkeeper"], address()
    user = throttled[0].users.add()
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200
    replies = [await guess(throttled[n % 2], party, throttled[0].users.add(), place) for n in range(105)]
    assert statuses(replies) == {401: 100, 429: 5}
    assert (await guess(throttled[0], party, throttled[0].users.add(), address())).status == 401
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200, "it is known there"


async def test_an_ipv6_network_is_a_64(throttled, parties):
    party, user = parties["doorkeeper"], throttled[0].users.add()
    places = [f"2001:db8:0:1::{n:x}" for n in range(1, 7)]
    assert [(await guess(throttled[0], party, user, place)).status for place in places] == [401] * 5 + [429]
    assert (await guess(throttled[0], party, user, "2001:db8:0:2::1")).status == 401


@pytest.mark.parametrize(
    ("dialect", "spellings"),
    [
        (
            "rfc6749",
            ["ann.{n}@example.com", "ANN.{n}@EXAMPLE.COM", "\uff41nn.{n}@example.com", "ann.{n}@exam\u00adple.com"],
        ),
        ("rfc6749", ["b{n}@münchen.example", "B{n}@xn--mnchen-3ya.example", "b{n}@MU\u0308NCHEN.example"]),
        ("rfc6749", ["c{n}@example.com", "c{n}@ex\u115fample.com", "c{n}@\u1160example\uffa0.c\u3164om"]),
        (
            "rfc6749",
            [
                "d{n}@münchen.example",
                "d{n}@mu\ufe0f\u0308nchen.example",
                "d{n}@x\ufe0fn--mnchen-3ya.example",
                "d{n}@xn--mnchen-3\ufe0fya.example",
                "d{n}@xn--mnchen-3ya\u3002example",
            ],
        ),
        ("bongo", ["+8801712{n}", "8801712{n}", "01712-{n}", "0 17 12 {n}", "+880 (1712) {n}"]),
    ],
)
async def test_every_spelling_of_a_name_counts(throttled, parties, dialect, spellings):
    number, name = f"{next(_hosts):06}", LOGIN.get(dialect, "username")
    party, user, place = parties[dialect], throttled[0].users.add(), address()
    logins = [spelling.format(n=number) for spelling in spellings for _ in range(5)]
    replies = [
        await throttled[n % 2].login(party, user, came_from(place), password=WRONG, **{name: login})
        for n, login in enumerate(logins)
    ]
    assert [reply.status for reply in replies[5:]] == [429] * (len(replies) - 5)


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


async def test_a_failure_of_ours_counts_for_nobody(throttled, parties):
    party, user, place = parties["rfc6749"], throttled[0].users.add(), address()

    async def broken(_request):
        raise ConnectionResetError

    throttled[0].users.fault = broken
    replies = [await guess(throttled[n % 2], party, user, place, user.password) for n in range(30)]
    assert statuses(replies) == {503: 30}
    throttled[0].users.fault = None
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200


async def test_who_hangs_up_has_made_a_guess(throttled, parties):
    party, user, place = parties["rfc6749"], throttled[0].users.add(), address()
    asked, released = asyncio.Queue(), asyncio.Event()

    async def slow(_request):
        asked.put_nowait(None)
        await released.wait()
        return web.json_response({"user": None})

    throttled[0].users.fault = slow
    for n in range(5):
        guessing = asyncio.create_task(guess(throttled[n % 2], party, user, place))
        await asked.get()
        guessing.cancel()
    throttled[0].users.fault = None
    released.set()

    async def status():
        return (await guess(throttled[0], party, user, place)).status

    assert await status() == 429


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


@pytest.mark.parametrize(
    ("dialect", "name", "neighbour"),
    [
        ("rfc6749", "victim{n}@example.com", "vic.tim{n}@example.com"),
        ("rfc6749", "victim{n}", "vic_tim{n}"),
        ("bongo", "+880171{n}", "+49171{n}"),
    ],
)
async def test_a_success_at_a_neighbour_of_the_same_key_forgives_nothing(throttled, parties, dialect, name, neighbour):
    """Who owns a name that shares its budget with another must not clear that one's with it."""
    party, number, place, home = parties[dialect], f"{next(_hosts):07}", address(), address()
    victim = throttled[0].users.add(login=name.format(n=number))
    own = throttled[0].users.add(login=neighbour.format(n=number))
    assert (await guess(throttled[0], party, victim, home, victim.password)).status in (200, 201)
    for n in range(12):
        await guess(throttled[n % 2], party, victim, place)
        await guess(throttled[n % 2], party, own, place, own.password)
    assert evaluated(throttled[0], victim) <= 1 + 5
    for n in range(60):
        elsewhere = address()
        await guess(throttled[n % 2], party, own, elsewhere, own.password)
        await guess(throttled[n % 2], party, victim, elsewhere)
    assert evaluated(throttled[0], victim) <= 1 + 25
    assert (await guess(throttled[0], party, victim, home, victim.password)).status in (200, 201), "it is known there"
