"""A refresh token has one successor and a grace period for a lost answer; an older token ends the session."""

import pytest

from .service import REFRESHING

REFUSED = {"doorkeeper": (401, "invalid_grant")}


@pytest.fixture(params=REFRESHING)
def party(request, parties):
    return parties[request.param]


def refused(party):
    return REFUSED.get(party.dialect, (400, "invalid_grant"))


async def test_a_spent_token_ends_the_session_once_its_grace_is_over(own_service, party):
    first = await own_service.login(party, own_service.users.add())
    second = await own_service.refresh(party, first.refresh)
    assert second.refresh != first.refresh
    assert [await own_service.verdict(reply.access) for reply in (first, second)] == [200, 200]
    await own_service.age(121)
    assert (await own_service.refresh(party, first.refresh)).error == refused(party)
    assert (await own_service.refresh(party, second.refresh)).error == refused(party)
    assert [await own_service.verdict(reply.access) for reply in (first, second)] == [401, 401]


async def test_whose_answer_was_lost_gets_the_same_successor_again(service, party):
    first = await service.login(party, service.users.add())
    replies = [await service.refresh(party, first.refresh) for _ in range(3)]
    assert len({reply.refresh for reply in replies}) == 1
    for reply in (first, *replies):
        assert await service.verdict(reply.access) == 200
    assert (await service.refresh(party, replies[0].refresh)).status == 200


async def test_the_grace_counts_from_the_first_rotation(own_service, parties):
    party = parties["rfc6749"]
    first = await own_service.login(party, own_service.users.add())
    successor = (await own_service.refresh(party, first.refresh)).refresh
    await own_service.age(100)
    assert (await own_service.refresh(party, first.refresh)).refresh == successor
    await own_service.age(21)
    assert (await own_service.refresh(party, first.refresh)).error == (400, "invalid_grant")


@pytest.mark.parametrize(("seconds", "status"), [(118, 200), (120, 400)])
async def test_the_grace_is_two_minutes_long(service, parties, seconds, status):
    party = parties["rfc6749"]
    first = await service.login(party, user := service.users.add())
    await service.refresh(party, first.refresh)
    moved = "UPDATE sessions SET rotated_at = now() - make_interval(secs => $2) WHERE user_id = $1"
    await service.rows(moved, user.id, seconds)
    assert (await service.refresh(party, first.refresh)).status == status


async def test_the_grace_is_a_setting(start, parties):
    service = await start(refresh_grace_seconds=50)
    first = await service.login(parties["rfc6749"], service.users.add())
    await service.refresh(parties["rfc6749"], first.refresh)
    await service.age(51)
    assert (await service.refresh(parties["rfc6749"], first.refresh)).error == (400, "invalid_grant")


async def test_only_the_predecessor_has_a_grace(service, party):
    first = await service.login(party, service.users.add())
    second = await service.refresh(party, first.refresh)
    third = await service.refresh(party, second.refresh)
    assert (await service.refresh(party, second.refresh)).refresh == third.refresh
    assert (await service.refresh(party, first.refresh)).error == refused(party)
    assert (await service.refresh(party, third.refresh)).error == refused(party)
    for reply in (first, second, third):
        assert await service.verdict(reply.access) == 401


async def test_a_foreign_client_gets_nothing_and_does_no_harm(service, party, parties):
    owned = await service.login(party, service.users.add())
    twin = await service.register(party.dialect)
    for foreigner in (twin, *(other for name, other in parties.items() if name in REFRESHING and other != party)):
        assert (await service.refresh(foreigner, owned.refresh)).error == refused(foreigner)
    assert await service.verdict(owned.access) == 200
    assert (await service.refresh(party, owned.refresh)).status == 200


async def test_a_narrow_scope_is_for_one_access_token(service, party):
    party = await service.register(party.dialect, scope=frozenset({"read", "write"}))
    login = await service.login(party, service.users.add(), scope="read write")
    narrow = await service.refresh(party, login.refresh, scope="read")
    restored = await service.refresh(party, narrow.refresh)
    scopes = [(await service.verify(reply.access)).json["scope"] for reply in (login, narrow, restored)]
    assert scopes == ["read write", "read", "read write"]
    told = {"rfc6749": "read", "cubux": "read"}.get(party.dialect)
    assert narrow.json.get("scope") == told


async def test_no_scope_is_ever_widened(service, parties):
    party = parties["rfc6749"]
    login = await service.login(party, service.users.add(), scope="read")
    for wider in ("read write", "write", "admin"):
        assert (await service.refresh(party, login.refresh, scope=wider)).error == (400, "invalid_scope")
    successor = await service.refresh(party, login.refresh)
    assert successor.json["scope"] == "read"


async def test_a_stolen_token_ends_the_session_whatever_scope_it_asks_for(own_service, parties):
    party = parties["rfc6749"]
    login = await own_service.login(party, own_service.users.add(), scope="read")
    successor = await own_service.refresh(party, login.refresh)
    await own_service.age(121)
    assert (await own_service.refresh(party, login.refresh, scope="write")).error == (400, "invalid_grant")
    assert await own_service.verdict(successor.access) == 401


async def test_a_session_ends_when_idle_for_too_long(own_service):
    party = await own_service.register("rfc6749", access_token_lifetime=10, idle_lifetime=50, session_lifetime=1000)
    login = await own_service.login(party, own_service.users.add())
    await own_service.age(59)
    second = await own_service.refresh(party, login.refresh)
    await own_service.age(61)
    assert (await own_service.refresh(party, second.refresh)).error == (400, "invalid_grant")


async def test_a_session_ends_at_last_however_active(own_service):
    party = await own_service.register("rfc6749", access_token_lifetime=30, idle_lifetime=50, session_lifetime=200)
    reply = await own_service.login(party, own_service.users.add())
    for _ in range(4):
        await own_service.age(45)
        reply = await own_service.refresh(party, reply.refresh)
    assert 15 <= reply.json["expires_in"] <= 20  # no access token outlives its session
    await own_service.age(21)
    assert (await own_service.refresh(party, reply.refresh)).error == (400, "invalid_grant")
    assert await own_service.verdict(reply.access) == 401
