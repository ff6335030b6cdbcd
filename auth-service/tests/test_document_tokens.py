"""The code that reads and writes our own tokens also handles the two sample tokens of doorkeeper-jwt's document."""

import hashlib

import pytest

from auth_service.app import DIALECTS, SIGNED_DIALECTS
from auth_service.backends.signing_keys import SigningKeys
from auth_service.core.model import Client, Session
from auth_service.core.tokens.formats import AccessToken
from servicekit import jws

SAMPLES = {
    "access": (
        "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca",
        "fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97",
        (157, "person1@example.com"),
        "b7454ce8-89f4-456b-82b6-862d406da1c9",
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiIsImtpZCI6IjZjYzliNDA1OTgxNWJiNzY3NGU4NjBhOGMzZGM0YzU4YzlkYjYzYWM4OWY0MjBl"
        "ODg4ZTRlNjUzYWY0MzA1Y2EifQ.eyJpc3MiOiJyYWlsc19hcGlfdGVtcGxhdGUiLCJpYXQiOjE1MTY3ODc0MDEsImp0aSI6ImI3NDU0Y2U4"
        "LTg5ZjQtNDU2Yi04MmI2LTg2MmQ0MDZkYTFjOSIsInVzZXIiOnsiaWQiOjE1NywiZW1haWwiOiJwZXJzb24xQGV4YW1wbGUuY29tIn19.GVG"
        "duU-mIOpszF2QEPRHPNHTc6qLMBQZroXInkSY_tUURRrmkEHo9UsPz_Vj8QKkBL542cCkYDrgdlNYfD6L0g",
    ),
    "refreshed": (
        "0fee4eab40cc183cdaf825b5944d39d459756a1cb8d0def2ce44bd3b207d9737",
        "5b3e5b929c233fe3b27c9e0452b6d2926a449a1699e40ece739f8bc0cab1dd0d",
        (158, "person2@example.com"),
        "8a0e109d-160f-40ec-b0ad-a43de262ad95",
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiIsImtpZCI6IjBmZWU0ZWFiNDBjYzE4M2NkYWY4MjViNTk0NGQzOWQ0NTk3NTZhMWNiOGQwZGVm"
        "MmNlNDRiZDNiMjA3ZDk3MzcifQ.eyJpc3MiOiJyYWlsc19hcGlfdGVtcGxhdGUiLCJpYXQiOjE1MTY3ODc0MDEsImp0aSI6IjhhMGUxMDlk"
        "LTE2MGYtNDBlYy1iMGFkLWE0M2RlMjYyYWQ5NSIsInVzZXIiOnsiaWQiOjE1OCwiZW1haWwiOiJwZXJzb24yQGV4YW1wbGUuY29tIn19.EOt"
        "B3m05zWuC4wFjq4SFO4yJqpoY-aAwAWsRMt2sZZ6cI_MgsZOnvs1DS96T8HYcijCKReXxhWI4g1BTNiSILw",
    ),
}
ISSUED_AT = 1516787401


@pytest.fixture(params=list(SAMPLES))
def sample(request):
    return SAMPLES[request.param]


def test_the_sample_tokens_verify_under_the_sample_secrets(sample):
    client_id, secret, user, _, token = sample
    header, claims = jws.unverified(token)
    jws.verify_signature(token, secret.encode(), "HS512", header)
    assert header == {"typ": "JWT", "alg": "HS512", "kid": client_id}
    assert (claims["user"]["id"], claims["user"]["email"]) == user
    with pytest.raises(jws.InvalidTokenError):
        jws.verify_signature(token, hashlib.sha256(secret.encode()).hexdigest().encode(), "HS512", header)


def test_the_same_facts_are_signed_to_the_same_bytes(sample):
    client_id, secret, (user_id, email), token_id, token = sample
    client = Client(client_id, "doorkeeper_jwt", 1, frozenset({"password"}))
    session = Session(
        7, client_id, user_id, str(user_id), frozenset(), frozenset(), 0, ISSUED_AT, ISSUED_AT + 7200, email
    )
    written = AccessToken("https://parley.example", client, session, ISSUED_AT, ISSUED_AT + 7200)
    form = DIALECTS["doorkeeper_jwt"].formats.access_token
    keys = SigningKeys(None, None, SIGNED_DIALECTS)
    signed = keys.sign_with_secret(
        form.algorithm, secret.encode(), form.header(client_id), form.claims(written, token_id)
    )
    assert signed == token


async def test_a_sample_token_that_was_not_issued_here_is_refused(service, sample):
    """They are refused although the first token's client is registered with the sample's id and secret."""
    assert await service.verdict(sample[4]) == 401


async def test_a_client_checks_its_tokens_with_its_secret(service, parties):
    party = parties["doorkeeper_jwt"]
    user = service.users.add(email="person1@example.com")
    token = (await service.login(party, user)).access
    header, claims = jws.unverified(token)
    jws.verify_signature(token, party.secret.encode(), "HS512", header)
    assert list(claims) == ["iss", "iat", "jti", "user"]
    assert claims["user"] == {"id": user.id, "email": "person1@example.com"}
