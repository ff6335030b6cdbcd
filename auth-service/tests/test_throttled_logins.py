"""Throttled logins: the answers they get, the calls that reach user-service, and which attempts count as guesses."""

import asyncio

import pytest
from aiohttp import web

from auth_service.core import login

from .guesses import WRONG, address, came_from, evaluated, guess, statuses


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


@pytest.mark.parametrize(("place", "network"), [("192.0.2.77", "192.0.2.77/32"), ("2001:db8::7:1", "2001:db8::/64")])
async def test_user_service_is_told_which_network_a_login_comes_from(throttled, parties, place, network):
    user = throttled[0].users.add()
    await guess(throttled[0], parties["rfc6749"], user, place)
    assert [check["network"] for check in throttled[0].users.checks if check["login"] == user.login] == [network]


async def test_user_service_is_told_no_network_of_an_exempt_address(throttled, parties):
    user = throttled[0].users.add()
    await guess(throttled[0], parties["rfc6749"], user, "198.51.100.7")
    checks = [check for check in throttled[0].users.checks if check["login"] == user.login]
    assert [check.keys() for check in checks] == [{"login", "password", "login_type"}]


async def test_a_failure_of_ours_counts_for_nobody(throttled, parties):
    party, user, place = parties["rfc6749"], throttled[0].users.add(), address()

    async def broken(_request):
        raise ConnectionResetError

    throttled[0].users.fault = broken
    replies = [await guess(throttled[n % 2], party, user, place, user.password) for n in range(30)]
    assert statuses(replies) == {503: 30}
    throttled[0].users.fault = None
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200


def checks_wait(users):
    """Hold up credential checks; returns a queue that announces each, and the event that lets them be answered."""
    asked, released = asyncio.Queue(), asyncio.Event()

    async def slow(_request):
        asked.put_nowait(None)
        await released.wait()
        return web.json_response({"user": None})

    users.fault = slow
    return asked, released


async def test_an_owner_who_was_left_waiting_has_made_no_guess(throttled, parties):
    """This happens in an outage of user-service, when clients give up and try again."""
    party, user, place = parties["rfc6749"], throttled[0].users.add(), address()
    asked, released = checks_wait(throttled[0].users)
    for _ in range(2):
        waiting = [asyncio.create_task(guess(throttled[0], party, user, place, user.password)) for _ in range(4)]
        async with asyncio.timeout(5):
            for _ in waiting:
                await asked.get()
        await asyncio.sleep(login.PATIENCE + 0.1)
        for guessing in waiting:
            guessing.cancel()
        await asyncio.wait(waiting)
    throttled[0].users.fault = None
    released.set()
    assert (await guess(throttled[0], party, user, place, user.password)).status == 200


async def test_who_hangs_up_has_made_a_guess(throttled, parties):
    party, user, place = parties["rfc6749"], throttled[0].users.add(), address()
    asked, released = checks_wait(throttled[0].users)
    for n in range(5):
        guessing = asyncio.create_task(guess(throttled[n % 2], party, user, place))
        await asked.get()
        guessing.cancel()
    throttled[0].users.fault = None
    released.set()

    async def status():
        return (await guess(throttled[0], party, user, place)).status

    assert await status() == 429
