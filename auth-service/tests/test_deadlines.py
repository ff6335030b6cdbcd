"""A statement that reaches the database after its caller has given up changes nothing."""

import struct

import pytest

from servicekit import testing_relay

PATIENCE = 0.5
ASKED = {"X-Parley-Timeout": str(PATIENCE)}


async def answered_late(relay, request, containing, after=0):
    return await testing_relay.answered_late(relay, request, PATIENCE, containing, after)


@pytest.fixture
async def held(start, relay_of_own):
    """auth-service with a private database, behind a relay."""
    return await start(database_url=relay_of_own.database_url, database_pool_size="1")


def session_bytes(name):
    return struct.pack(">q", int(name, 16))


async def session_of(service, login):
    verdict = (await service.verify(login.access)).json
    return verdict["sid"], {"Authorization": f"Bearer {verdict['internal_token']}", **ASKED}


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper"])
async def test_a_late_login_opens_no_session(held, relay_of_own, parties, dialect):
    party, user = parties[dialect], held.users.add()
    await held.login(party, user)
    reply = await answered_late(relay_of_own, held.login(party, user, ASKED), struct.pack(">q", user.id))
    assert reply.error == (503, "temporarily_unavailable")
    assert len(await held.rows("SELECT FROM sessions")) == 1


async def test_a_late_login_leaves_no_token_behind(held, relay_of_own):
    party, user = await held.register("doorkeeper_jwt", scope=frozenset({"zanzibar"})), held.users.add()
    await held.login(party, user)
    reply = await answered_late(relay_of_own, held.login(party, user, ASKED), b"zanzibar", after=1)
    assert reply.error == (503, "temporarily_unavailable")
    assert len(await held.rows("SELECT FROM access_tokens")) == 1


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper", "doorkeeper_jwt"])
async def test_a_late_refresh_neither_rotates_nor_is_taken_for_theft(held, relay_of_own, parties, dialect):
    party, user = parties[dialect], held.users.add()
    first = await held.login(party, user)
    second = await held.refresh(party, first.refresh)
    (row,) = await held.rows("SELECT id FROM sessions")
    late = held.refresh(party, second.refresh, ASKED)
    assert (await answered_late(relay_of_own, late, struct.pack(">q", row["id"]))).status == 503
    third = await held.refresh(party, second.refresh)
    fourth = await held.refresh(party, third.refresh)
    late = held.refresh(party, first.refresh, ASKED)
    assert (await answered_late(relay_of_own, late, struct.pack(">q", row["id"]))).status == 503
    assert await held.verdict(fourth.access) == 200
    (row,) = await held.rows("SELECT counter FROM sessions")
    assert row["counter"] == 3


async def test_a_late_revocation_ends_nothing(held, relay_of_own, parties):
    party, user = parties["rfc6749"], held.users.add()
    spare, login = await held.login(party, user), await held.login(party, user)

    def revoke(token, headers=None):
        return held.request("POST", "/oauth/revoke", json={**party.credentials, "token": token}, headers=headers)

    assert (await revoke(spare.refresh)).status == 200
    name, _ = await session_of(held, login)
    late = await answered_late(relay_of_own, revoke(login.refresh, ASKED), session_bytes(name))
    assert late.error == (503, "temporarily_unavailable")
    assert await held.verdict(login.access) == 200


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/sessions/current"])
async def test_a_late_end_of_sessions_ends_nothing(held, relay_of_own, parties, path):
    party, user = parties["rfc6749"], held.users.add()
    spare, login = await held.login(party, held.users.add()), await held.login(party, user)
    _, headers = await session_of(held, spare)
    assert (await held.request("DELETE", path, headers=headers)).status == 204
    _, headers = await session_of(held, login)
    late = await answered_late(relay_of_own, held.request("DELETE", path, headers=headers), struct.pack(">q", user.id))
    assert late.status == 503
    assert await held.verdict(login.access) == 200


@pytest.mark.parametrize("what", ["refresh", "revoke"])
async def test_what_waited_too_long_for_a_lock_changes_nothing(own_service, parties, what):
    party = parties["rfc6749"]
    login = await own_service.login(party, own_service.users.add())
    if what == "refresh":
        request = own_service.refresh(party, login.refresh, ASKED)
    else:
        body = {**party.credentials, "token": login.refresh}
        request = own_service.request("POST", "/oauth/revoke", json=body, headers=ASKED)
    lock = "SELECT FROM sessions FOR UPDATE"
    reply = await testing_relay.answered_after_lock(own_service.database_url, lock, request, PATIENCE)
    assert reply.error == (503, "temporarily_unavailable")
    assert [tuple(row) for row in await own_service.rows("SELECT counter, revoked_at FROM sessions")] == [(0, None)]
