"""A user may have fifty live sessions at one client; opening another one ends the least recently used."""

import asyncio

import pytest

POOLS = 2 * 8  # the connections of two replicas
LIVE = "SELECT count(*) FROM live_sessions WHERE user_id = $1"


async def verdicts(service, *replies):
    return [await service.verdict(reply.access) for reply in replies]


async def live(service, user):
    return (await service.rows(LIVE, user.id))[0]["count"]


async def test_sixty_logins_at_once_over_both_replicas_leave_fifty_sessions(replicas, parties):
    """Sessions recorded at the same moment do not see each other. The next login ends the surplus."""
    party, user = parties["rfc6749"], replicas[0].users.add()
    logins = await asyncio.gather(*(replicas[n % 2].login(party, user) for n in range(60)))
    assert {reply.status for reply in logins} == {200}
    assert 50 <= await live(replicas[0], user) < 50 + POOLS
    newest = await replicas[0].login(party, user)
    assert await live(replicas[0], user) == 50
    answers = await verdicts(replicas[1], *logins, newest)
    assert (answers.count(200), answers.count(401), answers[-1]) == (50, 11, 200)


async def test_the_one_that_was_used_longest_ago_ends(start, party):
    service = await start(sessions_per_user=3)
    user = service.users.add()
    first, second, third = [await service.login(party, user) for _ in range(3)]
    if party.dialect != "bongo":
        successor = await service.refresh(party, first.refresh)
        fourth = await service.login(party, user)
        assert await verdicts(service, first, successor, second, third, fourth) == [200, 200, 401, 200, 200]
        assert (await service.refresh(party, second.refresh)).json["error"] == "invalid_grant"
        assert (await service.refresh(party, successor.refresh)).status == 200
    else:
        fourth = await service.login(party, user)
        assert await verdicts(service, first, second, third, fourth) == [401, 200, 200, 200]


async def test_sessions_of_other_clients_and_users_do_not_count_nor_do_a_client_s_own(start, parties):
    service = await start(sessions_per_user=1)
    user, other = service.users.add(), service.users.add()
    web = parties["rfc6749"]
    opened = [
        *[await service.login(party, user) for party in parties.values()],
        await service.login(web, other),
        *[await service.token(web, "client_credentials") for _ in range(3)],
    ]
    assert set(await verdicts(service, *opened)) == {200}
    await service.login(web, user)
    assert await verdicts(service, *opened) == [401] + [200] * (len(opened) - 1)


async def test_what_has_ended_does_not_count(start, parties):
    service = await start(sessions_per_user=2)
    party, user = parties["rfc6749"], service.users.add()
    kept, revoked = [await service.login(party, user) for _ in range(2)]
    await service.request("POST", "/oauth/revoke", json={**party.credentials, "token": revoked.refresh})
    last = await service.login(party, user)
    assert await verdicts(service, kept, last) == [200, 200]


async def test_a_login_that_is_refused_ends_nothing(start, parties):
    service = await start(sessions_per_user=1)
    party, user = parties["rfc6749"], service.users.add()
    await service.users.end_sessions(user)
    current = await service.login(party, user)
    user.epoch -= 1  # as in an answer that arrives late
    assert (await service.login(party, user)).error == (400, "invalid_grant")
    assert await service.verdict(current.access) == 200


@pytest.mark.parametrize("left", [1, 2_500])
async def test_what_an_older_version_left_ends_little_by_little(start, parties, left):
    service = await start(sessions_per_user=2)
    party, user = parties["rfc6749"], service.users.add()
    copies = """
        INSERT INTO sessions (id, client_id, user_id, scope, idle_expires_at, expires_at)
        SELECT n, $1, $2, '{}', now() + interval '1 day', now() + interval '1 day' FROM generate_series(1, $3::int) n
    """
    await service.rows(copies, party.client_id, user.id, left)
    logins = [await service.login(party, user) for _ in range(4)]
    assert await live(service, user) == 2
    assert await verdicts(service, *logins) == [401, 401, 200, 200]
