"""Authorization: every public request, sent by every kind of caller."""

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from servicekit import known_keys

NEW_PASSWORD = {"current_password": "x", "password": "a completely new one"}
SET_PASSWORD = {"password": "a completely new one"}
USER_ACTIVITY = 'Bearer realm="parley", error="insufficient_scope", scope="UserActivity"'
SIGN_UP = 'Bearer realm="parley", error="insufficient_scope", scope="SignUp"'

# method, path, body, and the status for: nobody, a client, a user with another scope, a stranger, the user, an admin
MATRIX: list[tuple[str, str, Any, list[int]]] = [
    ("GET", "/api/v1/users", None, [401, 403, 403, 403, 403, 200]),
    ("GET", "/api/v1/users/me", None, [401, 403, 403, 200, 200, 200]),
    ("GET", "/api/v1/users/{id}", None, [401, 403, 403, 404, 200, 200]),
    ("PATCH", "/api/v1/users/{id}", {"user": {"username": "same"}}, [401, 403, 403, 404, 200, 200]),
    ("PATCH", "/api/v1/users/{id}", {"user": {"role": "default"}}, [401, 403, 403, 404, 403, 200]),
    ("POST", "/api/v1/users/{id}/password", NEW_PASSWORD, [401, 403, 403, 404, 422, 403]),
    ("POST", "/api/v1/users/{id}/password", SET_PASSWORD, [401, 403, 403, 404, 422, 204]),
    ("DELETE", "/api/v1/users/{id}", None, [401, 403, 403, 404, 204, 204]),
]


@pytest.mark.parametrize(
    "who", range(6), ids=["nobody", "a client", "another scope", "a stranger", "the user", "an admin"]
)
async def test_everyone_may_what_the_table_says_and_no_more(service: Any, who: int) -> None:
    async with service.acknowledging():
        for method, path, body, expected in MATRIX:
            await service.rows("DELETE FROM users")
            user, stranger = await service.add(username="same"), await service.add(username="stranger")
            admin = await service.add(username="admin", role="admin")
            token = service.issuer.token
            tokens = [
                None,
                token("client:app", "SignUp UserActivity"),
                token(str(user.id), "SignUp"),
                token(str(stranger.id)),
                token(str(user.id), "UserActivity other"),
                token(str(admin.id)),
            ]
            reply = await service.request(method, path.format(id=user.id), body, token=tokens[who])
            assert reply.status == expected[who], (method, path)
            if who == 0:
                assert reply.headers["WWW-Authenticate"] == 'Bearer realm="parley"'
            if who in (1, 2):
                assert reply.headers["WWW-Authenticate"] == USER_ACTIVITY


@pytest.mark.parametrize(
    ("subject", "scope", "status"),
    [
        (None, "", 401),
        ("client:app", "SignUp", 200),
        ("client:app", "UserActivity", 403),
        ("client:app", "", 403),
        ("auth-service", "credentials:check", 403),
        ("user", "", 403),
        ("user", "SignUp", 403),
        ("admin", "", 200),
        ("admin", "UserActivity", 200),
        ("admin", "profile", 403),
        ("disabled", "SignUp", 401),
        ("deleted", "SignUp", 401),
    ],
)
async def test_closed_sign_up_is_for_clients_with_the_sign_up_scope_and_admins(
    start: Callable[..., Any], subject: str | None, scope: str, status: int
) -> None:
    service = await start(open_sign_up=False)
    ids = {"user": (await service.add(username="user")).id, "deleted": 987654321}
    ids["admin"] = (await service.add(username="admin", role="admin")).id
    ids["disabled"] = (await service.add(username="disabled", role="admin")).id
    await service.rows("UPDATE users SET disabled_at = now() WHERE username = 'disabled'")
    token = service.issuer.token(str(ids.get(subject, subject)), scope) if subject is not None else None
    body = {"user": {"email": "new@x.com", "password": "correct horse battery"}}
    reply = await service.request("POST", "/api/v1/users", body, token=token)
    assert reply.status == status
    assert len(await service.rows("SELECT FROM users WHERE email IS NOT NULL")) == (status == 200)
    challenges = {401: 'Bearer realm="parley"' + (', error="invalid_token"' if token else ""), 403: SIGN_UP}
    assert reply.headers.get("WWW-Authenticate") == challenges.get(status)


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"),
    [
        ("POST", "/internal/credentials/check", {"login": "a@x.com", "password": "x"}, "credentials:check"),
        ("POST", "/internal/credentials/account", {"login": "a@x.com"}, "credentials:check"),
        ("GET", "/internal/events", None, "events:consume"),
        ("POST", "/internal/events/ack", {"ids": []}, "events:consume"),
    ],
)
async def test_internal_requests_are_auth_services_alone(
    lasting_service: Any, method: str, path: str, body: Any, scope: str
) -> None:
    token = lasting_service.issuer.token
    expected = [
        (token("auth-service", scope, client_id="auth-service"), {200, 204}),
        (None, {401}),
        ("not.a.token", {401}),
        (token("auth-service", "other", client_id="auth-service"), {403}),
        (token("client:app", scope), {403}),
        (token("157", scope), {403}),
    ]
    for sent, statuses in expected:
        assert (await lasting_service.request(method, path, body, token=sent)).status in statuses


async def test_a_token_acts_for_the_user_whose_number_it_says_whatever_its_subject(service: Any) -> None:
    user, other = await service.add(username="user"), await service.add(username="other")
    for subject in ("imported:1", str(other.id)):
        reply = await service.request("GET", "/api/v1/users/me", token=service.issuer.token(subject, user_id=user.id))
        assert (reply.status, reply.json["username"]) == (200, "user")
    previous = service.issuer.token(str(user.id), login_age=None)  # the number is only in its subject
    assert (await service.request("GET", "/api/v1/users/me", token=previous)).json["username"] == "user"


@pytest.mark.parametrize("header", ["Bearer", "Bearer x y", "Basic YTpi", "bearer \u00e9", "Bearer a.b.c"])
async def test_a_header_that_is_no_internal_token_is_refused_without_being_repeated(
    lasting_service: Any, header: str
) -> None:
    reply = await lasting_service.request("GET", "/api/v1/users/me", headers={"Authorization": header})
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="parley", error="invalid_token"'
    assert reply.headers["Content-Type"] == "application/problem+json; charset=utf-8"


@pytest.mark.parametrize("ahead", [-120, 60])
@pytest.mark.parametrize("path", ["/api/v1/users/me", "/internal/events"])
async def test_clocks_that_differ_log_nobody_out(lasting_service: Any, path: str, ahead: int) -> None:
    reply = await lasting_service.request("GET", path, token=lasting_service.issuer.token("1", ahead=ahead))
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "1"


async def test_an_unknown_key_is_refused_only_where_that_is_certain(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two reads of the keys, here ten minutes apart, the service cannot know."""
    monkeypatch.setattr(known_keys, "SEEK_INTERVAL", 600.0)
    claims = jwt.decode(service.issuer.token("1"), options={"verify_signature": False})
    attacker = ec.generate_private_key(ec.SECP256R1())

    async def reply_to_forged(**changes: int) -> Any:
        forged = jwt.encode(claims | changes, attacker, "ES256", {"typ": "at+jwt", "kid": "forged"})
        return await service.request("GET", "/api/v1/users/me", token=forged)

    refused, undecided = await reply_to_forged(), await reply_to_forged()
    assert refused.status == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert undecided.status == 503
    assert undecided.headers["Retry-After"] == "1"
    assert (await reply_to_forged(iat=claims["iat"] - 3600)).status == 401
    assert (await service.request("GET", "/api/v1/users/me", token=service.issuer.token("1"))).status != 503


async def test_other_methods_are_answered_405_with_what_is_allowed(lasting_service: Any) -> None:
    reply = await lasting_service.request("PUT", "/api/v1/users/1")
    assert reply.status == 405
    assert set(reply.headers["Allow"].split(",")) == {"GET", "HEAD", "PATCH", "DELETE"}
