"""`/verify-token`: the contents of an allow, and the dialect's words in a deny."""

import time

import jwt
import msgspec
import pytest

from .jose import decode, encode, server_keys
from .service import REFRESHING

SIGNED = {"rfc6749": "ES256", "passport": "RS256", "bongo": "HS256"}
ACCESS_DENIED = {"error": "invalid_token", "error_description": "The access token is invalid."}
CHALLENGE = 'Bearer realm="parley", error="invalid_token", error_description="The access token is invalid."'
PASSPORT_WORDS = {
    "es": "El token de acceso no es válido.",
    "en": "The access token is not valid.",
    "ru": "Токен доступа недействителен.",
}


def bongo_words(message):
    return {"message": message, "display_message": message, "status": 401, "error": "unauthorized", "causes": None}


DENIED = {
    "rfc6749": ACCESS_DENIED,
    "doorkeeper_jwt": ACCESS_DENIED,
    "doorkeeper": {"error": "The access token is invalid"},
    "cubux": ACCESS_DENIED,
    "passport": {"error": "invalid_token", "message": PASSPORT_WORDS["es"]},
    "bongo": bongo_words("The access token is invalid."),
}


def assert_denied(reply):
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == CHALLENGE
    assert (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")
    assert reply.headers["Vary"] == "Authorization, Accept, Accept-Language, language"


async def revoke(service, party, token):
    reply = await service.request("POST", "/oauth/revoke", json={**party.credentials, "token": token})
    assert reply.status == 200


async def test_an_allow_says_the_same_in_body_and_headers(service, party):
    user = service.users.add()
    login = await service.login(party, user)
    reply = await service.verify(login.access)
    facts = reply.json
    scope = {"rfc6749": "read write", "cubux": "SignUp UserActivity"}.get(party.dialect, "")
    lifetime = {"rfc6749": 900, "cubux": 86400, "bongo": 86400, "passport": 365 * 86400}.get(party.dialect, 7200)
    assert facts["active"] is True
    assert (facts["sub"], facts["user_id"]) == (str(user.id), user.id)
    assert (facts["client_id"], facts["dialect"]) == (party.client_id, party.dialect)
    assert (facts["scope"], facts["token_type"]) == (scope, "Bearer")
    assert abs(facts["exp"] - time.time() - lifetime) < 60
    assert lifetime - 60 < facts["expires_in"] <= lifetime
    stated = {name.lower(): value for name, value in reply.headers.items() if name.lower().startswith("x-parley-")}
    told = {name: value for name, value in facts.items() if name not in ("active", "internal_token")}
    assert stated == {f"x-parley-{name.replace('_', '-')}": str(value) for name, value in told.items() if value != ""}
    assert reply.headers["Authorization"] == f"Bearer {facts['internal_token']}"
    assert reply.headers["Cache-Control"] == "no-store"
    posted = await service.request("POST", "/verify-token", json={"token": login.access})
    assert facts["expires_in"] - 60 < posted.json["expires_in"] <= facts["expires_in"]
    later = {"internal_token": "", "expires_in": 0}
    assert {**posted.json, **later} == {**facts, **later}


@pytest.mark.parametrize("ahead", [-1200, 1200])
async def test_how_long_a_token_still_lives_is_told_by_the_database_s_clock(service, monkeypatch, ahead):
    party = await service.register("cubux", access_token_lifetime=600)
    login = await service.login(party, service.users.add())
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    assert 540 < (await service.verify(login.access)).json["expires_in"] <= 600


async def test_the_internal_token_says_the_same_for_a_minute(service, party):
    login = await service.login(party, service.users.add())
    facts = (await service.verify(login.access)).json
    keys = jwt.PyJWKSet.from_dict((await service.request("GET", "/.well-known/jwks.json")).json)
    header = jwt.get_unverified_header(facts["internal_token"])
    claims = jwt.decode(facts["internal_token"], keys[header["kid"]].key, algorithms=["ES256"], audience="internal")
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    same = ("sub", "user_id", "client_id", "scope", "sid")
    assert {name: claims[name] for name in same} == {name: facts[name] for name in same}
    assert claims["iss"] == "https://parley.example"
    assert 0 < claims["exp"] - claims["iat"] <= 60


def said_inside(reply):
    return jwt.decode(reply.json["internal_token"], options={"verify_signature": False})


RECORDED = "auth_time = auth_time - interval '302 s'"
# A session that an older version opened: the user logged in when it was created.
NOT_RECORDED = "auth_time = NULL, created_at = created_at - interval '302 s'"


@pytest.mark.parametrize("past", [RECORDED, NOT_RECORDED], ids=["recorded", "not recorded"])
async def test_the_internal_token_says_when_and_how_the_user_logged_in_which_no_refresh_changes(service, party, past):
    login = await service.login(party, service.users.add())
    before = said_inside(await service.verify(login.access))
    assert abs(before["auth_time"] - before["iat"]) <= 5
    assert (before["dialect"], before["amr"]) == (party.dialect, ["pwd"])
    await service.rows("UPDATE clients SET created_at = created_at - interval '302 s'")  # no session predates it
    await service.rows(f"UPDATE sessions SET {past} WHERE id = $1", int(before["sid"], 16))
    tokens = [login.access]
    if party.dialect in REFRESHING:
        tokens.append((await service.refresh(party, login.refresh)).access)
    for token in tokens:
        after = said_inside(await service.verify(token))
        assert (after["sid"], after["auth_time"]) == (before["sid"], before["auth_time"] - 302)
        assert after["amr"] == ["pwd"]


async def test_the_internal_token_never_outlives_the_token_it_stands_for(service):
    """Not even if the session has another access token with a longer lifetime."""
    party = await service.register("cubux", access_token_lifetime=50)
    login = await service.login(party, service.users.add())
    younger = await service.refresh(party, login.refresh)
    digest = "UPDATE access_tokens SET expires_at = now() + interval '10 s' WHERE digest = sha256($1::text::bytea)"
    await service.rows(digest, login.access)
    for token in (younger.access, login.access):
        facts = (await service.verify(token)).json
        claims = jwt.decode(facts["internal_token"], options={"verify_signature": False})
        assert claims["exp"] <= facts["exp"] + 1
        assert (await service.verify(token)).json["internal_token"] == facts["internal_token"]


async def test_a_client_that_acts_for_itself_is_no_user(service, parties):
    login = await service.token(parties["cubux"], "client_credentials", scope="SignUp")
    facts = (await service.verify(login.access)).json
    assert (facts["sub"], facts["scope"]) == ("client:MY_CLIENT_ID", "SignUp")
    assert "user_id" not in facts
    assert not {"user_id", "auth_time", "amr"} & said_inside(await service.verify(login.access)).keys()


async def test_a_revoked_token_is_denied_in_its_dialect_s_words(service, party):
    login = await service.login(party, service.users.add())
    await revoke(service, party, login.access)
    reply = await service.verify(login.access)
    assert_denied(reply)
    assert reply.json == DENIED[party.dialect]
    assert reply.headers["Content-Type"].lower().startswith("application/json")


async def test_only_doorkeeper_tells_expired_from_invalid(own_service, party):
    token = (await own_service.login(party, own_service.users.add())).access
    await own_service.age(86401)
    if party.dialect in SIGNED:
        header, claims = decode(token)
        _, private = (await server_keys(own_service))[SIGNED[party.dialect]]
        token = encode(header, claims | {"exp": int(time.time()) - 1}, SIGNED[party.dialect], private)
    reply = await own_service.verify(token)
    assert_denied(reply)
    words = {"error": "The access token expired"} if party.dialect == "doorkeeper" else DENIED[party.dialect]
    assert reply.json == words


async def test_one_wording_for_every_cause(service, parties):
    """An unknown but well-formed token, a revoked one, and one of a disabled client are denied in the same bytes."""
    for dialect in ("cubux", "doorkeeper"):
        party = await service.register(dialect)
        revoked, disabled = [(await service.login(party, service.users.add())).access for _ in range(2)]
        await revoke(service, party, revoked)
        await service.rows("UPDATE clients SET disabled_at = now() WHERE client_id = $1", party.client_id)
        replies = [await service.verify(token) for token in (revoked, disabled, "0" * len(revoked))]
        assert len({reply.body for reply in replies}) == 1
        for reply in replies:
            assert_denied(reply)


@pytest.mark.parametrize("media_type", ["application/msgpack", "application/x-msgpack"])
@pytest.mark.parametrize("token", ["0" * 64, "garbage"])
async def test_doorkeeper_answers_in_messagepack_when_asked(service, media_type, token):
    reply = await service.verify(token, Accept=media_type)
    assert_denied(reply)
    assert reply.headers["Content-Type"] == media_type
    assert msgspec.msgpack.decode(reply.body) == {"error": "The access token is invalid"}


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "es"),
        ({"language": "en"}, "en"),
        ({"language": "ru", "Accept-Language": "en"}, "ru"),
        ({"language": "de", "Accept-Language": "en"}, "en"),
        ({"Accept-Language": "de, ru;q=0.5, en;q=0.7"}, "en"),
        ({"Accept-Language": "en;q=0, ru;q=nonsense"}, "es"),
        ({"Accept-Language": "en-GB,en;q=0.9"}, "en"),
    ],
)
async def test_passport_answers_in_the_client_s_language(service, parties, headers, language):
    login = await service.login(parties["passport"], service.users.add())
    await revoke(service, parties["passport"], login.access)
    reply = await service.verify(login.access, **headers)
    assert_denied(reply)
    assert reply.headers["Content-Language"] == language
    assert reply.json["message"] == PASSPORT_WORDS[language]


async def test_a_language_header_speaks_of_passport(service):
    assert (await service.verify("garbage", language="en")).json["message"] == PASSPORT_WORDS["en"]
    assert (await service.verify("garbage")).json == ACCESS_DENIED


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic Zm9vOmJhcg=="}, {"Authorization": "Digest x"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_token_gets_a_bare_challenge(service, method, headers):
    reply = await service.request(method, "/verify-token", headers=headers)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="parley"'
    assert reply.json == {}
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["", "/", "/orders/1?x=%ff", "//..%2f/%00/%zz"])
async def test_a_proxy_may_ask_with_the_method_and_the_path_of_the_request(service, parties, method, path):
    login = await service.login(parties["cubux"], service.users.add())
    allowed = await service.request(method, f"/verify-token{path}", headers={"Authorization": f"Bearer {login.access}"})
    denied = await service.request(method, f"/verify-token{path}", headers={"Authorization": "Bearer 0"})
    assert (allowed.status, allowed.headers["X-Parley-Sid"]) == (200, (await service.verify(login.access)).json["sid"])
    assert (denied.status, denied.headers["WWW-Authenticate"]) == (401, CHALLENGE)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/verify-token/"), ("POST", "/verify-token/orders"), ("PUT", "/verify-token")]
)
async def test_the_body_of_a_request_that_a_proxy_asks_about_is_no_token(service, parties, method, path):
    login = await service.login(parties["cubux"], service.users.add())
    body = {"token": login.access}
    assert (await service.request("POST", "/verify-token", json=body)).status == 200
    reply = await service.request(method, path, json=body)
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="parley"')


@pytest.mark.parametrize("path", ["/verify-tokens", "/verify-token*", "/orders/verify-token"])
async def test_no_other_path_is_answered(service, path):
    assert (await service.request("GET", path)).status == 404
