"""No failure between auth-service and user-service makes auth-service call a password wrong."""

import asyncio

import jwt
import pytest
from aiohttp import web

from auth_service.backends import user_service

from .guesses import address, guess, statuses
from .serving import eventually
from .test_database_away import assert_unavailable


async def broken(_request):
    return web.Response(status=500, text="boom")


async def busy(_request):
    return web.Response(status=503, headers={"Retry-After": "7"})


async def refusing(_request):
    return web.json_response({"user": None}, status=401)


async def garbage(_request):
    return web.Response(body=b"\xff{", content_type="application/json")


async def incomplete(_request):
    return web.json_response({"user": {"id": "7"}})


async def silent(_request):
    return web.json_response({})


async def elsewhere(request):
    return web.Response(status=307, headers={"Location": str(request.url)})


async def cut(request):
    request.transport.abort()
    return web.Response()


async def slow(_request):
    await asyncio.sleep(5)
    return web.json_response({"user": None})


@pytest.mark.parametrize("fault", [broken, busy, refusing, garbage, incomplete, silent, elsewhere, cut, slow])
async def test_a_login_that_cannot_be_checked_is_unavailable(service, parties, monkeypatch, fault):
    monkeypatch.setattr(user_service, "CHECK_TIMEOUT", 0.2)
    user = service.users.add()
    service.users.fault = fault
    replies = await asyncio.gather(*(service.login(party, user) for party in parties.values()))
    for reply, dialect in zip(replies, parties, strict=True):
        assert_unavailable(reply, dialect)
    assert await service.rows("SELECT id FROM sessions WHERE user_id = $1", user.id) == []


async def overloaded(_request):
    return web.Response(status=503, headers={"X-Parley-Overload": "1"})


@pytest.mark.parametrize(("refusal", "sent"), [(overloaded, 21), (busy, 25)])
async def test_no_more_logins_are_sent_than_there_was_room_for(own_service, parties, refusal, sent):
    user, party, released = own_service.users.add(), parties["rfc6749"], asyncio.Event()

    async def taking_twenty(request):
        if len(own_service.users.checks) > 20:
            return await refusal(request)
        await released.wait()
        return web.json_response({"user": None})

    async def checks():
        return len(own_service.users.checks)

    own_service.users.fault = taking_twenty
    taken = [asyncio.create_task(own_service.login(party, user)) for _ in range(20)]
    await eventually(checks, lambda number: number == 20)
    for _ in range(5):
        assert_unavailable(await own_service.login(party, user), "rfc6749")
    assert len(own_service.users.checks) == sent
    elsewhere = [own_service.login(party, user, {"X-Forwarded-For": f"192.0.{n}.1"}) for n in range(3)]
    for reply in await asyncio.gather(*elsewhere):
        assert_unavailable(reply, "rfc6749")
    assert len(own_service.users.checks) == sent + 3  # user-service itself decides which logins make room
    released.set()
    assert [reply.status for reply in await asyncio.gather(*taken)] == [400] * 20
    own_service.users.fault = None
    assert [reply.status for reply in await asyncio.gather(*(own_service.login(party, user) for _ in range(15)))] == [
        200
    ] * 15


async def sent_at_a_time(service, party, user, logins):
    """The number of these logins that are sent to user-service while it answers none; then it answers all of them."""
    before, released, begun = len(service.users.checks), asyncio.Event(), []

    async def wait(_user):
        await released.wait()

    async def sent_or_refused():
        return len(service.users.checks) - before + sum(login.done() for login in begun)

    service.users.before_answer = wait
    for number in range(1, logins + 1):
        begun.append(asyncio.create_task(service.login(party, user)))
        await eventually(sent_or_refused, lambda seen, number=number: seen == number)
    sent = len(service.users.checks) - before
    released.set()
    assert statuses(await asyncio.gather(*begun)) == {200: sent, 503: logins - sent}
    return sent


async def test_eight_logins_at_a_time_are_sent_at_least_and_more_as_they_are_taken(own_service, parties):
    user, party = own_service.users.add(), parties["rfc6749"]
    own_service.users.fault = overloaded
    for _ in range(3):
        assert_unavailable(await own_service.login(party, user), "rfc6749")
    own_service.users.fault = None
    assert await sent_at_a_time(own_service, party, user, 13) == 8
    assert await sent_at_a_time(own_service, party, user, 13) == 12  # half a slot more for each login that was accepted


async def test_accounts_are_asked_for_by_so_many_logins_at_a_time(start, parties, monkeypatch):
    monkeypatch.setattr(user_service, "MOST_LOOKUPS", 8)
    service, party, released = await start(), parties["rfc6749"], asyncio.Event()
    user, asked = service.users.add(), []

    async def waiting(_request):
        asked.append(None)
        await released.wait()
        return web.json_response({"accounts": ["nobody"]})

    async def number():
        return len(asked)

    service.users.account_fault = waiting
    logins = [asyncio.create_task(service.login(party, user)) for _ in range(8)]
    await eventually(number, lambda number: number == 8)
    for _ in range(3):
        assert_unavailable(await service.login(party, user), "rfc6749")
    assert len(asked) == 8
    released.set()
    assert [reply.status for reply in await asyncio.gather(*logins)] == [200] * 8
    assert (await service.login(party, user)).status == 200


@pytest.mark.parametrize("fault", [overloaded, busy, broken, garbage, silent])
async def test_a_login_whose_account_is_not_named_is_unavailable(start, parties, fault):
    service = await start()
    user = service.users.add()
    service.users.account_fault = fault
    for dialect, party in parties.items():
        assert_unavailable(await service.login(party, user), dialect)
    service.users.account_fault = None
    assert (await service.login(parties["rfc6749"], user)).status == 200


async def test_a_user_service_that_is_not_there_is_unavailable(start, parties):
    service = await start(users_url="http://127.0.0.1:1")
    assert_unavailable(await service.login(parties["passport"], service.users.add()), "passport")


async def test_the_call_names_auth_service_and_what_it_may(service, parties):
    """The internal token verifies under the published keys, and carries only the scope of the call."""
    service.users.bearers.clear()
    await service.login(parties["rfc6749"], user := service.users.add())
    await service.users.end_sessions(user)
    jwks = jwt.PyJWKSet.from_dict((await service.request("GET", "/.well-known/jwks.json")).json)
    seen = set()
    for bearer in service.users.bearers:
        token = bearer.removeprefix("Bearer ")
        header = jwt.get_unverified_header(token)
        key = jwks[header["kid"]].key
        claims = jwt.decode(token, key, algorithms=["ES256"], audience="internal", issuer="https://parley.example")
        assert header["typ"] == "at+jwt"
        assert claims["exp"] - claims["iat"] <= 60
        seen.add((claims["sub"], claims["client_id"], claims["scope"]))
    assert seen == {("auth-service", "auth-service", scope) for scope in ("credentials:check", "events:consume")}


class Listener:
    """A fault that records the timeout it was given, and answers only after the caller has left."""

    def __init__(self):
        self.timeouts = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, request):
        self.timeouts.append(float(request.headers["X-Parley-Timeout"]))
        self.asked.set()

        async def transport():
            return request.transport

        await eventually(transport, lambda seen: seen is None)
        self.left.set()
        return web.Response()


async def test_user_service_is_told_how_long_it_is_waited_for(service, parties):
    waits = []

    async def tell(request):
        waits.append(float(request.headers["X-Parley-Timeout"]))
        return web.json_response({"user": None})

    service.users.fault = tell
    user = service.users.add()
    for given in ({}, {"X-Parley-Timeout": "60"}, {"X-Parley-Timeout": "nonsense"}):
        await service.login(parties["rfc6749"], user, given)
    assert waits == [10, 10, 10]
    await service.login(parties["rfc6749"], user, {"X-Parley-Timeout": "8"})
    assert 0 < waits[-1] <= 8


async def test_nobody_is_asked_for_a_caller_that_waits_no_longer(service, parties):
    service.users.checks.clear()
    for patience in ("0", "0.000000001"):
        reply = await service.login(parties["rfc6749"], service.users.add(), {"X-Parley-Timeout": patience})
        assert_unavailable(reply, "rfc6749")
    assert service.users.checks == []


async def test_a_check_is_given_up_when_the_callers_time_is_over(service, parties):
    listener = Listener()
    service.users.fault = listener
    reply = await service.login(parties["rfc6749"], service.users.add(), {"X-Parley-Timeout": "0.5"})
    assert_unavailable(reply, "rfc6749")
    assert listener.timeouts[0] <= 0.5
    await asyncio.wait_for(listener.left.wait(), 5)


async def test_a_check_is_given_up_when_the_caller_leaves(service, parties):
    listener = Listener()
    service.users.fault = listener
    login = asyncio.create_task(service.login(parties["rfc6749"], service.users.add()))
    await listener.asked.wait()
    login.cancel()
    await asyncio.wait_for(listener.left.wait(), 5)


async def test_while_user_service_is_of_the_previous_version_logins_go_on(start, parties, redis):
    service = await start(redis_url=redis.url, throttle_exempt="")
    service.users.previous = True
    user, other, place = service.users.add(), service.users.add(), address()
    for party in parties.values():
        assert (await guess(service, party, user, place, user.password)).status in (200, 201)
    replies = [await guess(service, parties["rfc6749"], other, place) for _ in range(7)]
    assert [reply.status for reply in replies] == [400] * 5 + [429] * 2
