"""A change of a user ends the older sessions, and no login that races the change leaves one alive."""

import asyncio
import random

import pytest

from .jose import decode


async def session_of(service, token):
    return (await service.verify(token)).json["sid"]


async def test_an_event_ends_the_older_sessions_and_no_other(service, party):
    user, other = service.users.add(), service.users.add()
    older = [await service.login(party, user) for _ in range(2)]
    foreign = await service.login(party, other)
    await service.users.end_sessions(user)
    younger = await service.login(party, user)
    assert [await service.verdict(reply.access) for reply in (*older, foreign, younger)] == [401, 401, 200, 200]
    if party.dialect != "bongo":
        status = 401 if party.dialect == "doorkeeper" else 400
        assert (await service.refresh(party, older[0].refresh)).error == (status, "invalid_grant")
        assert (await service.refresh(party, younger.refresh)).status == 200


async def test_a_login_overtaken_by_the_event_is_a_wrong_password(service, party):
    """The password was right when it was checked, but has been changed by the time the session is opened."""
    user = service.users.add()
    wrong = await service.login(party, user, password="wrong")

    async def change_password(user):
        await service.users.end_sessions(user)

    service.users.before_answer = change_password
    reply = await service.login(party, user)
    assert (reply.status, reply.body) == (wrong.status, wrong.body)
    assert await service.rows("SELECT id FROM sessions WHERE user_id = $1", user.id) == []


async def test_a_login_just_before_the_event_ends_with_it(service, party):
    """The credential check's answer is old, and the event arrives after the session has been opened."""
    user = service.users.add()

    async def change_password(user):
        user.epoch += 1

    service.users.before_answer = change_password
    login = await service.login(party, user)
    assert await service.verdict(login.access) == 200
    await service.users.acknowledged(service.users.emit(user))
    assert await service.verdict(login.access) == 401


async def test_a_login_with_the_new_password_may_be_ahead_of_the_event(service, parties):
    party, user = parties["passport"], service.users.add()
    user.epoch = 3
    login = await service.login(party, user)
    await service.users.acknowledged(service.users.emit(user))
    assert await service.verdict(login.access) == 200


async def test_no_login_or_refresh_survives_a_change_that_it_races(replicas, parties):
    """With two processes: once a change is acknowledged, neither accepts any token from before it."""
    chance, users, party = random.Random(7), replicas[0].users, parties["cubux"]

    async def wait(_user):
        await asyncio.sleep(chance.random() / 200)

    async def race(user):
        opened = await replicas[0].login(party, user)
        epoch = user.epoch

        async def change():
            await wait(user)
            await users.end_sessions(user)

        login, refreshed, _ = await asyncio.gather(
            replicas[1].login(party, user), replicas[chance.randrange(2)].refresh(party, opened.refresh), change()
        )
        assert user.epoch == epoch + 1
        tokens = [reply.access for reply in (opened, login, refreshed) if reply.status == 200]
        verdicts = [await replica.verdict(token) for token in tokens for replica in replicas]
        rows = await replicas[0].rows("SELECT epoch FROM live_sessions WHERE user_id = $1", user.id)
        return verdicts, [row["epoch"] for row in rows], len(tokens), epoch

    users.before_answer = wait
    counts = set()
    for _ in range(6):
        for verdicts, epochs, tokens, epoch in await asyncio.gather(*(race(users.add()) for _ in range(8))):
            lively = [live for live in epochs if live > epoch]
            assert epochs == lively
            assert verdicts.count(200) == 2 * len(lively)
            counts.add(tokens)
    assert len(counts) > 1  # the race was won by either side


async def test_the_session_that_is_kept_outlives_the_event(service, parties):
    party, user = parties["doorkeeper"], service.users.add()
    acting, other = [await service.login(party, user) for _ in range(2)]
    for _ in range(2):
        await service.users.end_sessions(user, await session_of(service, acting.access))
        assert [await service.verdict(reply.access) for reply in (acting, other)] == [200, 401]
    assert (await service.refresh(party, acting.refresh)).status == 200
    await service.users.end_sessions(user)
    assert await service.verdict(acting.access) == 401


async def test_a_session_that_had_ended_is_not_kept(service, parties):
    party, user = parties["cubux"], service.users.add()
    outdated, revoked = [await service.login(party, user) for _ in range(2)]
    named = [await session_of(service, reply.access) for reply in (outdated, revoked)]
    await service.request("POST", "/oauth/revoke", json={**party.credentials, "token": revoked.refresh})
    await service.users.end_sessions(user, named[1])
    await service.users.end_sessions(user, named[0])
    assert [await service.verdict(reply.access) for reply in (outdated, revoked)] == [401, 401]


async def test_no_session_of_another_user_is_kept(service, parties):
    party, user, other = parties["cubux"], service.users.add(), service.users.add()
    foreign = await service.login(party, other)
    await service.users.end_sessions(other)
    sid = (await service.rows("SELECT id FROM sessions WHERE user_id = $1", other.id))[0]["id"]
    await service.users.end_sessions(user, f"{sid:016x}")
    assert await service.verdict(foreign.access) == 401


async def test_an_event_that_comes_again_changes_nothing(service, parties):
    party, user = parties["rfc6749"], service.users.add()
    kept, ended = [await service.login(party, user) for _ in range(2)]
    sid = await session_of(service, kept.access)
    await service.users.end_sessions(user, sid)
    younger = await service.login(party, user)
    await service.users.acknowledged(service.users.emit(user, keep_session=sid))
    assert [await service.verdict(reply.access) for reply in (kept, ended, younger)] == [200, 401, 200]
    user.epoch = 2
    await service.users.acknowledged(service.users.emit(user))
    user.epoch = 1
    await service.users.acknowledged(service.users.emit(user, keep_session=sid))
    assert [await service.verdict(reply.access) for reply in (kept, ended, younger)] == [401, 401, 401]


async def test_an_event_that_came_while_it_was_down_is_applied_before_the_first_verdict(start_process, parties):
    process, service = await start_process()
    user, other = service.users.add(), service.users.add()
    login, foreign = [await service.login(parties["cubux"], one) for one in (user, other)]
    assert await process.stop() == 0
    user.epoch += 1
    service.users.emit(user)
    service.users.before_events = 0.5  # a process that served before then would accept the old session
    _, restarted = await start_process()
    assert [await restarted.verdict(reply.access) for reply in (login, foreign)] == [401, 200]


async def test_a_new_address_stands_in_the_next_token(service, parties):
    party = parties["doorkeeper_jwt"]
    login = await service.login(party, user := service.users.add())
    user.email = "new@example.com"
    await service.users.acknowledged(service.users.emit(user, "email_changed"))
    refreshed = await service.refresh(party, login.refresh)
    assert decode(refreshed.access)[1]["user"]["email"] == "new@example.com"
    assert await service.verdict(login.access) == 200


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper", "cubux", "passport", "bongo"])
async def test_an_address_is_kept_only_for_tokens_that_show_it(service, parties, dialect):
    user = service.users.add(email="person@example.com")
    await service.login(parties[dialect], user)
    rows = await service.rows("SELECT email FROM sessions WHERE user_id = $1", user.id)
    assert [row["email"] for row in rows] == [None]
