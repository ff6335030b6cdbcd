"""A session may have a subject, which its client sees as `sub`. Parley itself uses the user's number everywhere."""

import pytest

from .jose import decode
from .service import REFRESHING

SUBJECT = "b7e5d9c2@elsewhere.example"


@pytest.fixture
async def user(service):
    return service.users.add()


@pytest.fixture
async def token(service, party, user):
    """An access token of a session with a subject, issued after the subject was set if the dialect refreshes."""
    login = await service.login(party, user)
    sid = (await service.verify(login.access)).json["sid"]
    await service.rows("UPDATE sessions SET subject = $2 WHERE id = $1", int(sid, 16), SUBJECT)
    return (await service.refresh(party, login.refresh)).access if party.dialect in REFRESHING else login.access


async def test_the_client_sees_the_subject(service, party, user, token):
    """If a dialect's tokens contain the user's number, they still do."""
    if party.dialect in ("rfc6749", "passport"):
        assert decode(token)[1]["sub"] == SUBJECT
    if party.dialect == "doorkeeper_jwt":
        assert decode(token)[1]["user"]["id"] == user.id
    if party.dialect == "bongo":
        assert decode(token)[1]["user_id"] == user.id
        assert (
            await service.request("GET", f"/api/oauth/{user.id}/verify-token/v1/", headers=bearer(token))
        ).status == 200
    inspector = await service.register("rfc6749", scope=frozenset({"introspection"}))
    answer = await service.request("POST", "/oauth/introspect", json={**inspector.credentials, "token": token})
    assert (answer.json["active"], answer.json["sub"]) == (True, SUBJECT)


async def test_services_are_told_the_user_s_number(service, user, token):
    verdict = (await service.verify(token)).json
    inside = decode(verdict["internal_token"])[1]
    for facts in (verdict, inside):
        assert (facts["sub"], facts["user_id"]) == (str(user.id), user.id)
    listed = await service.request("GET", "/api/v1/sessions", headers=bearer(verdict["internal_token"]))
    assert [(session["id"], session["current"]) for session in listed.json["sessions"]] == [(verdict["sid"], True)]


async def test_an_event_about_the_user_ends_the_session(service, user, token):
    await service.users.end_sessions(user)
    assert await service.verdict(token) == 401


def bearer(token):
    return {"Authorization": f"Bearer {token}"}
