"""The cache of verdicts: for how long and for which requests they are cached, and which never are."""

import asyncio
import contextlib
import gc
import hashlib
import json
import time

import pytest

from gateway.verdicts import cache
from gateway.verdicts.cache import Verdicts
from wire import until

ME = "/api/v1/users/me"
SIGN_UP = "/api/v1/users"
DENIAL = (("Content-Type", "application/json"), ("WWW-Authenticate", 'Bearer realm="parley", error="invalid_token"'))


@pytest.fixture
async def remembering(start_gateway):
    """A gateway that caches verdicts for longer than any test takes."""
    return await start_gateway(verdict_lifetime=20)


def _deny(gateway, body=b"words"):
    gateway.auth.judges(401, body, *DENIAL)


async def _status(gateway, *headers, token="good", path=ME, method="GET"):
    return (await gateway.request(method, path, *headers, token=token)).status


async def test_a_verdict_is_asked_for_once(remembering):
    assert [await _status(remembering) for _ in range(5)] == [200] * 5
    _deny(remembering)
    assert [await _status(remembering, token="bad") for _ in range(5)] == [401] * 5
    assert await _status(remembering) == 200
    assert len(remembering.auth.questions) == 2


async def test_another_token_is_another_question(remembering):
    await _status(remembering, token="good")
    _deny(remembering)
    assert [await _status(remembering, token=token) for token in ("goo", "goodx", "GOOD", "good=", "xgood")] == [
        401
    ] * 5


async def test_the_scheme_is_no_part_of_the_token(remembering):
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert await _status(remembering, ("Authorization", f"{scheme} good"), token=None) == 200
    assert len(remembering.auth.questions) == 1


async def test_each_route_applies_its_policy_afresh(remembering):
    remembering.auth.allows(scope="SignUp")
    assert await _status(remembering, path=SIGN_UP, method="POST") == 200
    assert await _status(remembering) == 403
    assert await _status(remembering, path=SIGN_UP, method="POST") == 200
    assert len(remembering.auth.questions) == 1


async def test_a_verdict_ends_at_a_fixed_time_however_often_it_is_used(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0.5)
    start = time.monotonic()
    assert await _status(gateway) == 200
    _deny(gateway)
    while await _status(gateway) == 200:
        assert time.monotonic() - start < 2
    assert time.monotonic() - start > 0.4
    assert len(gateway.auth.questions) == 2


async def test_a_deny_ends_as_well(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0.2)
    _deny(gateway)
    assert await _status(gateway) == 401
    gateway.auth.allows()
    async with asyncio.timeout(5):
        while await _status(gateway) == 401:
            pass


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
async def test_a_verdict_never_outlives_its_token(remembering, ahead):
    """The database's clock, which decides, is behind or ahead of this machine's."""
    remembering.auth.allows(expires_in=2, exp=int(time.time()) + 2 - ahead)
    assert await _status(remembering) == 200
    _deny(remembering)
    assert await _status(remembering) == 200, "it is remembered"
    async with asyncio.timeout(5):
        while await _status(remembering) == 200:
            pass


async def test_a_token_that_has_no_second_left_is_not_remembered(remembering):
    remembering.auth.allows(expires_in=0)
    assert [await _status(remembering) for _ in range(3)] == [200] * 3
    assert len(remembering.auth.questions) == 3


@pytest.mark.parametrize("status", [500, 503, 429, 204, 302])
async def test_what_is_no_verdict_is_not_remembered(remembering, status):
    remembering.auth.judges(status)
    assert await _status(remembering) == 503
    remembering.auth.allows()
    assert await _status(remembering) == 200


@pytest.mark.parametrize("name", ["Accept", "Accept-Language", "language"])
async def test_a_deny_is_remembered_with_what_chose_its_words(remembering, name):
    _deny(remembering, b"English")
    assert (await remembering.request("GET", ME, (name, "a"))).body == b"English"
    _deny(remembering, b"Spanish")
    assert (await remembering.request("GET", ME, (name, "b"))).body == b"Spanish"
    assert (await remembering.request("GET", ME, (name, "a"))).body == b"English"
    assert len(remembering.auth.questions) == 2


async def test_the_challenge_without_a_token_is_remembered(remembering):
    _deny(remembering)
    assert [await _status(remembering, token=None) for _ in range(3)] == [401] * 3
    assert len(remembering.auth.questions) == 1


async def test_a_long_deny_is_not_kept(remembering):
    _deny(remembering, b"x" * (cache.MAX_DENY_BODY + 1))
    assert [await _status(remembering) for _ in range(2)] == [401] * 2
    assert len(remembering.auth.questions) == 2


@contextlib.asynccontextmanager
async def _at_once(gateway, number):
    """This many connections that have sent requests with one token at the same time, and wait for answers."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect()) for _ in range(number)]
        for connection in connections:
            await connection.send(gateway.bytes("GET", ME, ("Authorization", "Bearer good")))
        await until(lambda: _in_flight(gateway) == number)
        yield connections


async def _statuses(connections):
    return {(await connection.response()).status for connection in connections}


def _in_flight(gateway):
    return gateway.serving.statuses()[0]["in_flight"]


def _held_back(gateway):
    """Delay the verdicts for `gateway` until the returned event is set."""
    held, judge = asyncio.Event(), gateway.auth.verdict

    async def script(message, reader, writer):
        await held.wait()
        await judge(message, reader, writer)

    gateway.auth.verdict = script
    return held


async def test_a_thousand_requests_ask_once(start_gateway):
    places = {"upstream_requests": 1000, "upstream_requests_per_network": 1000}  # all come from one address
    gateway = await start_gateway(verdict_lifetime=20, verify_timeout=30, **places)
    held = _held_back(gateway)
    async with _at_once(gateway, 1000) as connections:
        held.set()
        assert await _statuses(connections) == {200}
    assert len(gateway.auth.questions) == 1


async def test_who_asked_first_may_leave(remembering):
    held = _held_back(remembering)
    async with remembering.connect() as first:
        await first.send(remembering.bytes("GET", ME, ("Authorization", "Bearer good")))
        await until(lambda: remembering.auth.questions)
        others = [asyncio.create_task(remembering.request("GET", ME)) for _ in range(5)]
        await until(lambda: _in_flight(remembering) == 6)
    await until(lambda: _in_flight(remembering) == 5)
    held.set()
    assert {(await other).status for other in others} == {200}
    assert len(remembering.auth.questions) == 1
    assert len(remembering.users.requests) == 5


async def test_a_question_that_fails_fails_for_all_and_is_asked_again(remembering):
    remembering.auth.judges(500)
    held = _held_back(remembering)
    async with _at_once(remembering, 20) as connections:
        held.set()
        assert await _statuses(connections) == {503}
    remembering.auth.allows()
    assert await _status(remembering) == 200
    assert len(remembering.auth.questions) == 2


async def test_garbage_pushes_out_nothing_that_is_good(start_gateway, monkeypatch):
    monkeypatch.setattr(cache, "MAX_DENIES", 50)
    gateway = await start_gateway(verdict_lifetime=20)
    assert await _status(gateway) == 200
    _deny(gateway)
    async with gateway.connect() as connection:
        for number in range(200):
            await connection.send(gateway.bytes("GET", ME, ("Authorization", f"Bearer garbage-{number}")))
            assert (await connection.response()).status == 401
    assert await _status(gateway) == 200
    assert len(gateway.auth.questions) == 201
    # The newest denies are cached; the oldest are evicted.
    assert [await _status(gateway, token=f"garbage-{number}") for number in (199, 151, 0)] == [401] * 3
    assert len(gateway.auth.questions) == 202


async def test_allows_are_bounded_too(start_gateway, monkeypatch):
    monkeypatch.setattr(cache, "MAX_ALLOWS", 10)
    gateway = await start_gateway(verdict_lifetime=20)
    for number in range(30):
        assert await _status(gateway, token=f"good-{number}") == 200
    assert await _status(gateway, token="good-29") == 200
    assert len(gateway.auth.questions) == 30
    assert await _status(gateway, token="good-0") == 200
    assert len(gateway.auth.questions) == 31


async def test_no_token_is_kept(remembering):
    await _status(remembering, token="s3cr3t-good")
    _deny(remembering)
    await _status(remembering, token="s3cr3t-bad")
    digest = hashlib.sha256(b"s3cr3t-good").digest()
    [remembered] = [each for each in gc.get_objects() if isinstance(each, Verdicts) and digest in each._allows._entries]
    kept = [remembered._allows._entries, remembered._denies._entries, remembered._asked]
    assert len(kept[0]) == len(kept[1]) == 1
    assert "s3cr3t" not in repr(kept)


CASES = {
    "user": {"sub": "157"},
    "client": {"sub": "client:demo"},
    "sign-up": {"sub": "client:demo", "scope": "SignUp"},
    "activity": {"sub": "157", "scope": "UserActivity Other"},
    "denied": None,
}
REQUESTS = (("GET", ME), ("POST", SIGN_UP), ("DELETE", "/api/v1/sessions/current"), ("GET", SIGN_UP))


async def test_what_is_remembered_decides_like_what_is_asked(remembering, gateway):
    async def script(message, reader, writer):
        changes = CASES[message.get("Authorization").removeprefix("Bearer ")]
        for backend in (remembering.auth, gateway.auth):
            backend.allows(**changes) if changes is not None else backend.judges(401, b"words", *DENIAL)
            judge, backend.verdict = backend.verdict, script
        await judge(message, reader, writer)

    remembering.auth.verdict = gateway.auth.verdict = script
    for _ in range(2):
        for token in CASES:
            for method, path in REQUESTS:
                one = await remembering.request(method, path, token=token)
                other = await gateway.request(method, path, token=token)
                assert (one.status, one.body) == (other.status, other.body)
    assert len(remembering.auth.questions) == len(CASES)
    assert len(gateway.auth.questions) == 2 * len(CASES) * len(REQUESTS)


async def test_the_ops_port_counts_hits_and_misses(remembering):
    for _ in range(3):
        await _status(remembering)
    async with remembering.connect(remembering.ops_port) as connection:
        await connection.send(remembering.bytes("GET", "/stats"))
        counters = json.loads((await connection.response()).body)["counters"]
    assert (counters["verdict_hits"], counters["verdict_misses"]) == (2, 1)
