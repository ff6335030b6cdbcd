"""Revocation (RFC 7009), introspection (RFC 7662), and a user's own sessions."""

import asyncio
import json

import pytest

from auth_service.core.endings import Selection

REVOKE, INTROSPECT, SESSIONS = "/oauth/revoke", "/oauth/introspect", "/api/v1/sessions"
UNKNOWN = ("garbage", "0" * 40, "0" * 64, "a.b.c", "A" * 59, "é", " ")


async def post(service, path, party, token, **more):
    return await service.request("POST", path, json={**party.credentials, "token": token, **more})


async def test_any_token_of_a_session_ends_it(service, party):
    for kind in ("access", "refresh", "spent refresh"):
        if party.dialect == "bongo" and kind != "access":
            continue
        login = await service.login(party, service.users.add())
        replies = [login]
        if kind == "spent refresh":
            replies.append(await service.refresh(party, login.refresh))
        token = login.access if kind == "access" else login.refresh
        first = await post(service, REVOKE, party, token)
        assert (first.status, first.headers["Cache-Control"]) == (200, "no-store")
        assert [await service.verdict(reply.access) for reply in replies] == [401] * len(replies)
        again = await post(service, REVOKE, party, token)
        assert (again.status, again.body) == (200, first.body)
        if party.dialect != "bongo":
            for reply in replies:
                assert (await service.refresh(party, reply.refresh)).status in (400, 401)


async def test_unknown_tokens_and_wrong_hints_are_passed_over(service, parties):
    party = parties["rfc6749"]
    assert {(await post(service, REVOKE, party, token)).status for token in UNKNOWN} == {200}
    for hint in ("refresh_token", "access_token", "nonsense"):
        login = await service.login(party, service.users.add())
        assert (await post(service, REVOKE, party, login.access, token_type_hint=hint)).status == 200
        assert await service.verdict(login.access) == 401
    for path in (REVOKE, INTROSPECT):
        assert (await post(service, path, party, "")).error == (400, "invalid_request")


async def test_a_foreign_client_revokes_and_learns_nothing(service, party, parties):
    login = await service.login(party, service.users.add())
    tokens = [login.access] if party.dialect == "bongo" else [login.access, login.refresh]
    twin = await service.register(party.dialect)
    strangers = [twin, *(parties[dialect] for dialect in ("rfc6749", "cubux", "passport"))]
    for stranger in (stranger for stranger in strangers if stranger != party):
        for token in tokens:
            assert (await post(service, REVOKE, stranger, token)).status == 200
            assert (await post(service, INTROSPECT, stranger, token)).json == {"active": False}
    assert await service.verdict(login.access) == 200


@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
async def test_a_token_is_no_client_authentication(service, parties, path):
    login = await service.login(parties["rfc6749"], service.users.add())
    for headers in ({}, {"Authorization": f"Bearer {login.access}"}):
        reply = await service.request("POST", path, json={"token": login.access}, headers=headers)
        assert reply.error == (401, "invalid_client")
    reply = await service.request("POST", path, json={"token": login.access, "client_id": "web"})
    assert reply.error == (401, "invalid_client")
    assert await service.verdict(login.access) == 200


async def test_what_introspection_says(service, parties):
    party, user = parties["rfc6749"], service.users.add()
    login = await service.login(party, user, scope="read")
    for token, lifetime in ((login.access, 900), (login.refresh, 365 * 86400)):
        facts = (await post(service, INTROSPECT, party, token)).json
        assert facts["exp"] - facts["iat"] == lifetime
        assert {name: facts[name] for name in facts.keys() - {"exp", "iat"}} == {
            "active": True,
            "scope": "read",
            "client_id": "web",
            "sub": str(user.id),
            "token_type": "Bearer",
            "iss": "https://parley.example",
        }


async def test_an_inactive_token_is_inactive_and_nothing_else(own_service, parties):
    service, party = own_service, parties["rfc6749"]
    revoked, spent, foreign = [await service.login(party, service.users.add()) for _ in range(3)]
    await post(service, REVOKE, party, revoked.access)
    await service.refresh(party, spent.refresh)
    foreign = await service.login(parties["cubux"], service.users.add())
    tokens = [*UNKNOWN, revoked.access, revoked.refresh, spent.refresh, foreign.access, foreign.refresh]
    assert {(await post(service, INTROSPECT, party, token)).body for token in tokens} == {b'{"active":false}'}


async def test_a_client_with_the_scope_for_it_introspects_for_everybody(service, party):
    inspector = await service.register("rfc6749", scope=frozenset({"introspection"}))
    login = await service.login(party, user := service.users.add())
    facts = (await post(service, INTROSPECT, inspector, login.access)).json
    assert (facts["active"], facts["client_id"], facts["sub"]) == (True, party.client_id, str(user.id))


async def bearer(service, login):
    return {"Authorization": f"Bearer {(await service.verify(login.access)).json['internal_token']}"}


async def test_a_user_lists_and_ends_own_sessions(service, parties):
    user, other = service.users.add(), service.users.add()
    logins = [await service.login(parties[dialect], user) for dialect in ("cubux", "passport", "bongo")]
    foreign = await service.login(parties["cubux"], other)
    acting = await bearer(service, logins[0])
    listed = (await service.request("GET", SESSIONS, headers=acting)).json["sessions"]
    assert {row["client_id"] for row in listed} == {
        parties[dialect].client_id for dialect in ("cubux", "passport", "bongo")
    }
    assert [row["id"] for row in listed if row["current"]] == [(await service.verify(logins[0].access)).json["sid"]]
    foreign_sid = (await service.verify(foreign.access)).json["sid"]
    one = (await service.verify(logins[1].access)).json["sid"]

    async def delete(path):
        return (await service.request("DELETE", SESSIONS + path, headers=acting)).status

    for path in (f"/{foreign_sid}", "/" + "0" * 16, "/" + "f" * 16, "/nonsense", f"/{one.upper()}x"):
        assert await delete(path) == 404
    assert [await delete(f"/{one}"), await delete(f"/{one}")] == [204, 404]
    assert [await service.verdict(reply.access) for reply in (*logins, foreign)] == [200, 401, 200, 200]
    assert await delete("/current") == 204
    assert await service.verdict(logins[0].access) == 401
    assert await delete("") == 204
    assert [await service.verdict(reply.access) for reply in (logins[2], foreign)] == [401, 200]


async def test_a_session_that_can_no_longer_be_used_is_not_listed(own_service, parties):
    user = own_service.users.add()
    await own_service.login(parties["rfc6749"], user)
    live = await own_service.login(parties["passport"], user)
    await own_service.rows("UPDATE sessions SET idle_expires_at = now() WHERE client_id = 'web'")
    listed = (await own_service.request("GET", SESSIONS, headers=await bearer(own_service, live))).json["sessions"]
    assert [row["client_id"] for row in listed] == ["1"]


async def test_a_user_ends_sessions_at_a_disabled_client_too(own_service, parties, log):
    """Otherwise they would be alive again once the client is enabled."""
    user = own_service.users.add()
    there = await own_service.login(parties["passport"], user)
    here = await own_service.login(parties["rfc6749"], user)
    headers = await bearer(own_service, here)
    change = "UPDATE clients SET disabled_at = {}, version = version + 1 WHERE client_id = '1'"
    await own_service.rows(change.format("now()"))
    assert (await own_service.request("DELETE", SESSIONS, headers=headers)).status == 204
    await own_service.rows(change.format("NULL"))
    assert await own_service.verdict(there.access) == 401
    ended = [json.loads(line) for line in log.getvalue().splitlines() if '"sessions ended"' in line][-1]
    assert (ended["by"], ended["reason"], ended["user_id"], ended["sessions"]) == ("user", "signed out", user.id, 2)


def test_a_selection_that_names_nothing_is_refused():
    """It would select every session there is."""
    with pytest.raises(ValueError, match="needs an id"):
        Selection()


async def test_a_client_that_acts_for_itself_has_no_sessions_of_a_user(service, parties):
    login = await service.token(parties["cubux"], "client_credentials")
    for method in ("GET", "DELETE"):
        assert (await service.request(method, SESSIONS, headers=await bearer(service, login))).status == 403
    assert (await service.request("GET", SESSIONS)).status == 401


async def test_a_revocation_that_races_a_refresh_wins(replicas, parties):
    party = parties["passport"]
    for _ in range(20):
        login = await replicas[0].login(party, replicas[0].users.add())
        refreshed, _ = await asyncio.gather(
            replicas[0].refresh(party, login.refresh), post(replicas[1], REVOKE, party, login.refresh)
        )
        tokens = [reply.access for reply in (login, refreshed) if reply.status == 200]
        assert {await replica.verdict(token) for replica in replicas for token in tokens} == {401}
