"""Successful refreshes are limited too: retries of one spent token, and rotations of one session."""

import asyncio
from collections import Counter

import pytest

from .service import REFRESHING

TOO_MANY = (429, "too_many_requests")


async def written(service, user):
    """Everything that a refresh writes: the session's row, by its last transaction, and stored access tokens."""
    session = (await service.rows("SELECT id, xmin::text, ctid::text FROM sessions WHERE user_id = $1", user.id))[0]
    stored = await service.rows("SELECT count(*) FROM access_tokens WHERE session_id = $1", session["id"])
    return session["xmin"], session["ctid"], stored[0]["count"]


async def at_both(replicas, party, token, number):
    return await asyncio.gather(*(replicas[n % 2].refresh(party, token) for n in range(number)))


@pytest.mark.parametrize("dialect", REFRESHING)
async def test_a_spent_token_is_answered_twenty_times_more_over_both_replicas(throttled, parties, dialect):
    party, user = parties[dialect], throttled[0].users.add()
    login = await throttled[0].login(party, user)
    successor = await throttled[1].refresh(party, login.refresh)
    replies = await at_both(throttled, party, login.refresh, 60)
    assert Counter(reply.status for reply in replies) == {200: 20, 429: 40}
    assert {reply.refresh for reply in replies if reply.status == 200} == {successor.refresh}
    before = await written(throttled[0], user)
    refused = await at_both(throttled, party, login.refresh, 10)
    assert {reply.error for reply in refused} == {TOO_MANY}
    assert {reply.headers["Retry-After"] for reply in refused} == {"1"}  # the end of the grace period would be too late
    assert await written(throttled[0], user) == before
    assert [await replica.verdict(successor.access) for replica in throttled] == [200, 200]
    assert (await throttled[0].refresh(party, successor.refresh)).status == 200


async def test_the_next_spent_token_is_answered_as_often(throttled, parties):
    party = parties["cubux"]
    spent = (await throttled[0].login(party, throttled[0].users.add())).refresh
    for _ in range(2):
        replies = await at_both(throttled, party, spent, 30)
        assert Counter(reply.status for reply in replies) == {200: 21, 429: 9}
        spent = next(reply.refresh for reply in replies if reply.status == 200)


async def test_a_stolen_token_ends_its_session_however_often_it_was_tried(own_service, parties):
    party = parties["rfc6749"]
    login = await own_service.login(party, own_service.users.add())
    replies = [await own_service.refresh(party, login.refresh) for _ in range(25)]
    assert replies[-1].error == TOO_MANY
    await own_service.age(121)
    assert (await own_service.refresh(party, login.refresh)).error == (400, "invalid_grant")
    assert await own_service.verdict(replies[0].access) == 401


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper"])
async def test_a_session_is_refreshed_thirty_times_a_minute_over_both_replicas(throttled, parties, dialect):
    party, user = parties[dialect], throttled[0].users.add()
    reply = await throttled[0].login(party, user)
    for n in range(30):
        reply = await throttled[n % 2].refresh(party, reply.refresh)
        assert reply.status == 200
    before = await written(throttled[0], user)
    refused = await at_both(throttled, party, reply.refresh, 10)
    assert {refusal.error for refusal in refused} == {TOO_MANY}
    assert all(1 <= int(refusal.headers["Retry-After"]) <= 60 for refusal in refused)
    assert await written(throttled[0], user) == before
    assert await throttled[1].verdict(reply.access) == 200
    moved = "UPDATE sessions SET rotations_since = rotations_since - interval '1 minute' WHERE user_id = $1"
    await throttled[0].rows(moved, user.id)
    assert (await throttled[1].refresh(party, reply.refresh)).status == 200


async def test_a_session_that_is_refreshed_too_often_harms_no_other(throttled, parties):
    party, user = parties["passport"], throttled[0].users.add()
    hasty, other = [await throttled[0].login(party, user) for _ in range(2)]
    for _ in range(30):
        hasty = await throttled[0].refresh(party, hasty.refresh)
    assert (await throttled[0].refresh(party, hasty.refresh)).error == TOO_MANY
    assert (await throttled[0].refresh(party, other.refresh)).status == 200


async def test_both_bounds_are_settings(start, parties):
    service = await start(refresh_retries=2, refresh_rate="3/hour")
    party = parties["rfc6749"]
    reply = await service.login(party, service.users.add())
    for _ in range(3):
        spent = reply.refresh
        reply = await service.refresh(party, spent)
    assert (await service.refresh(party, reply.refresh)).error == TOO_MANY
    assert [(await service.refresh(party, spent)).status for _ in range(3)] == [200, 200, 429]
    await service.age(3599)
    assert (await service.refresh(party, reply.refresh)).error == TOO_MANY
    await service.age(2)
    assert (await service.refresh(party, reply.refresh)).status == 200
