"""One row ends every session at once; sessions opened afterwards live."""

import asyncio

import pytest

from .service import Party

INTROSPECT, SESSIONS = "/oauth/introspect", "/api/v1/sessions"
ENDINGS = [("sessions", "revoke", "--all"), ("restored",)]

each_ending = pytest.mark.parametrize("ending", ENDINGS, ids=" ".join)


async def introspected(service, party, token):
    reply = await service.request("POST", INTROSPECT, json={**party.credentials, "token": token})
    return reply.json["active"]


async def listed(service, internal_token):
    headers = {"Authorization": f"Bearer {internal_token}"}
    return len((await service.request("GET", SESSIONS, headers=headers)).json["sessions"])


@each_ending
async def test_nothing_from_before_is_accepted_and_everything_after_is(command, own_service, party, ending):
    user = own_service.users.add()
    before = await own_service.login(party, user)
    internal_token = (await own_service.verify(before.access)).json["internal_token"]
    assert await listed(own_service, internal_token) == 1
    assert (await command(*ending)).status == 0
    assert await own_service.verdict(before.access) == 401
    assert await listed(own_service, internal_token) == 0
    assert (await command("sessions", "list", "--json")).json == []
    if party.dialect != "bongo":
        assert (await own_service.refresh(party, before.refresh)).json["error"] == "invalid_grant"
    if party.secret:
        tokens = [before.access] if party.dialect == "bongo" else [before.access, before.refresh]
        assert [await introspected(own_service, party, token) for token in tokens] == [False] * len(tokens)

    after = await own_service.login(party, user)
    assert await own_service.verdict(after.access) == 200
    assert await listed(own_service, internal_token) == 1
    if party.dialect != "bongo":
        refreshed = await own_service.refresh(party, after.refresh)
        assert await own_service.verdict(refreshed.access) == 200
        if party.secret:
            assert await introspected(own_service, party, refreshed.refresh)


@each_ending
async def test_it_may_be_said_again(command, own_service, parties, ending):
    party, tokens = parties["cubux"], []
    for _ in range(3):
        tokens.append((await own_service.login(party, own_service.users.add())).access)
        assert [await own_service.verdict(token) for token in tokens] == [401] * (len(tokens) - 1) + [200]
        assert [(await command(*ending)).status for _ in range(2)] == [0, 0]
    assert [await own_service.verdict(token) for token in tokens] == [401] * 3


async def test_a_session_without_a_user_ends_too(command, own_service, parties):
    issued = await own_service.token(parties["rfc6749"], "client_credentials")
    assert (await command("restored")).status == 0
    assert await own_service.verdict(issued.access) == 401


async def test_it_writes_one_row_however_many_sessions_there_are(command, own_service, parties):
    for _ in range(3):
        await own_service.login(parties["cubux"], own_service.users.add())
    written = "SELECT xmin::text FROM sessions ORDER BY id"
    before = await own_service.rows(written)
    assert (await command("restored")).status == 0
    assert await own_service.rows(written) == before


async def test_no_login_or_refresh_that_it_races_is_left_alive(command, own_service, parties):
    party = parties["doorkeeper"]
    user = own_service.users.add()
    opened = [await own_service.login(party, user) for _ in range(8)]

    async def end():
        await asyncio.sleep(0)
        return await command("restored")

    ended, *raced = await asyncio.gather(
        end(),
        *(own_service.refresh(party, reply.refresh) for reply in opened),
        *(own_service.login(party, own_service.users.add()) for _ in range(8)),
    )
    assert ended.status == 0
    current = await own_service.rows("SELECT s.id FROM sessions s, global_epoch g WHERE s.global_epoch = g.epoch")
    verdicts = [await own_service.verdict(reply.access) for reply in raced if reply.status == 200]
    assert verdicts.count(200) == len(current)
    assert [await own_service.verdict(reply.access) for reply in opened] == [401] * 8


async def test_a_registration_from_before_a_restore_is_not_remembered(command, own_service, parties):
    """A process that kept running during the restore has cached versions that the registrations will reach again."""
    party, user = parties["passport"], own_service.users.add()
    stale = await own_service.rows("SELECT * FROM clients WHERE client_id = $1", party.client_id)
    assert (await command("clients", "rotate-secret", party.client_id, "--secret", "of the time since")).status == 0
    since = Party(party.client_id, "of the time since", party.dialect)
    assert (await own_service.login(since, user)).status == 200
    await own_service.rows(
        "UPDATE clients SET secret_digest = $2, version = $3 WHERE client_id = $1",
        *(party.client_id, stale[0]["secret_digest"], stale[0]["version"]),
    )
    assert (await command("restored")).status == 0
    await own_service.rows("UPDATE clients SET version = version + 1 WHERE client_id = $1", party.client_id)
    assert (await own_service.login(since, user)).error == (401, "invalid_client")
    assert (await own_service.login(party, user)).status == 200


async def test_all_names_nothing_else(command):
    for named in (("0" * 16,), ("--user", "1"), ("--client", "web")):
        assert (await command("sessions", "revoke", "--all", *named)).refusal == "--all excludes other selections"
