"""Two auth-service processes over one database are one authorization server."""

import asyncio
import random

import pytest

from .jose import decode


async def verdicts(replicas, *tokens):
    return [await replica.verdict(token) for token in tokens for replica in replicas]


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper"])
async def test_two_hundred_refreshes_at_once_have_one_successor(replicas, parties, dialect):
    party = parties[dialect]
    login = await replicas[0].login(party, replicas[0].users.add())
    replies = await asyncio.gather(*(replicas[number % 2].refresh(party, login.refresh) for number in range(200)))
    assert [reply.status for reply in replies] == [200] * 200
    assert len({reply.refresh for reply in replies}) == 1
    assert len({reply.access for reply in replies}) == 200
    assert await verdicts(replicas, *(reply.access for reply in replies[::20])) == [200] * 20
    next_replies = await asyncio.gather(*(replica.refresh(party, replies[0].refresh) for replica in replicas))
    assert len({reply.refresh for reply in next_replies}) == 1


async def test_many_sessions_refresh_at_once_with_one_successor_each(replicas, parties):
    party, chance = parties["cubux"], random.Random(1)
    logins = await asyncio.gather(*(replicas[0].login(party, replicas[0].users.add()) for _ in range(20)))
    tokens = [login.refresh for login in logins for _ in range(10)]
    chance.shuffle(tokens)
    replies = await asyncio.gather(*(chance.choice(replicas).refresh(party, token) for token in tokens))
    successors = {(token, reply.refresh) for token, reply in zip(tokens, replies, strict=True)}
    assert len(successors) == 20


async def test_a_stolen_token_ends_the_session_on_both(replicas, parties):
    party = parties["passport"]
    login = await replicas[0].login(party, replicas[0].users.add())
    second = await replicas[1].refresh(party, login.refresh)
    third = await replicas[0].refresh(party, second.refresh)
    accesses = [reply.access for reply in (login, second, third)]
    assert await verdicts(replicas, *accesses) == [200] * 6
    assert (await replicas[1].refresh(party, login.refresh)).error == (400, "invalid_grant")
    assert await verdicts(replicas, *accesses) == [401] * 6
    for replica in replicas:
        for reply in (login, second, third):
            assert (await replica.refresh(party, reply.refresh)).error == (400, "invalid_grant")


async def test_thief_and_owner_at_once_end_the_session_for_both(replicas, parties):
    """Whichever comes first: the token before the last has no grace period, and both lose the tokens they got."""
    party = parties["rfc6749"]
    for _ in range(10):
        login = await replicas[0].login(party, replicas[0].users.add())
        second = await replicas[1].refresh(party, login.refresh)
        owner, thief = await asyncio.gather(
            replicas[0].refresh(party, second.refresh), replicas[1].refresh(party, login.refresh)
        )
        if owner.status == thief.status == 200:  # the thief was first, within the grace period for a lost answer
            assert thief.refresh == second.refresh
            owner = await replicas[0].refresh(party, owner.refresh)
            assert (await replicas[1].refresh(party, login.refresh)).status == 400
        assert (await replicas[0].refresh(party, second.refresh)).status == 400
        assert await verdicts(replicas, login.access, second.access) == [401] * 4


async def test_what_was_revoked_on_one_is_dead_on_the_other(replicas, party):
    user = replicas[0].users.add()
    for kind in ("access_token", "refresh_token"):
        login = await replicas[0].login(party, user)
        if kind == "refresh_token" and party.dialect == "bongo":
            continue
        access = [login.access]
        if party.dialect != "bongo":
            access.append((await replicas[0].refresh(party, login.refresh)).access)
        assert await verdicts(replicas, *access) == [200] * 2 * len(access)
        token = login.access if kind == "access_token" else login.refresh
        reply = await replicas[0].request("POST", "/oauth/revoke", json={**party.credentials, "token": token})
        assert reply.status == 200
        assert await verdicts(replicas, *access) == [401] * 2 * len(access)


async def test_a_disabled_client_is_dead_at_once_where_it_was_just_known(replicas, party):
    client = await replicas[0].register(party.dialect)
    user = replicas[0].users.add()
    logins = [await replica.login(client, user) for replica in replicas]
    assert await verdicts(replicas, *(login.access for login in logins)) == [200] * 4
    disable = "UPDATE clients SET disabled_at = now(), version = version + 1 WHERE client_id = $1"
    await replicas[0].rows(disable, client.client_id)
    assert await verdicts(replicas, *(login.access for login in logins)) == [401] * 4
    for replica, login in zip(replicas, logins, strict=True):
        refused = [await replica.login(client, user, password="wrong"), await replica.login(client, user)]
        if party.dialect != "bongo":
            refused.append(await replica.refresh(client, login.refresh))
        assert [reply.error for reply in refused] == [(401, "invalid_client")] * len(refused)
    enable = "UPDATE clients SET disabled_at = NULL, version = version + 1 WHERE client_id = $1"
    await replicas[0].rows(enable, client.client_id)
    for replica, login in zip(replicas, logins, strict=True):
        assert (await replica.login(client, user)).status in (200, 201)
        assert await replica.verdict(login.access) == 200


async def test_both_know_each_other_s_keys(replicas, parties):
    user = replicas[0].users.add()
    key_sets = [(await replica.request("GET", "/.well-known/jwks.json")).json for replica in replicas]
    assert key_sets[0] == key_sets[1]
    for dialect in ("rfc6749", "passport", "bongo"):
        tokens = [(await replica.login(parties[dialect], user)).access for replica in replicas]
        assert await verdicts(replicas, *tokens) == [200] * 4
        assert len({decode(token)[0].get("kid") for token in tokens}) == 1


async def test_what_was_acknowledged_outlives_a_kill(start_process, parties):
    process, service = await start_process()
    party, user = parties["doorkeeper"], service.users.add()
    kept, revoked, rotated = [await service.login(party, user) for _ in range(3)]
    successor = await service.refresh(party, rotated.refresh)
    await service.request("POST", "/oauth/revoke", json={"client_id": party.client_id, "token": revoked.access})
    await process.kill()
    _, other = await start_process()
    assert [await other.verdict(reply.access) for reply in (kept, revoked, rotated, successor)] == [200, 401, 200, 200]
    assert (await other.refresh(party, rotated.refresh)).refresh == successor.refresh
