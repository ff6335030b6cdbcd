"""Verdicts of /verify-token: allows, relayed denies, and that no failure admits a request."""

import asyncio
import socket

import pytest

ME = "/api/v1/users/me"
JSON_ALLOW = b'{"active": true, "sub": "1", "client_id": "c", "scope": "", "expires_in": 1, "internal_token": "t"}'
DENIAL = (
    ("Content-Type", "application/json; charset=utf-8"),
    ("WWW-Authenticate", 'Bearer realm="parley", error="invalid_token"'),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    ("Content-Language", "es"),
)


async def test_an_allowed_request_carries_the_internal_token(gateway):
    answer = await gateway.request("GET", ME)
    assert answer.status == 200
    assert [message.get("Authorization") for message in gateway.users.requests] == ["Bearer internal.token.157"]


async def test_every_request_is_verified(gateway):
    for _ in range(3):
        await gateway.request("GET", ME)
    gateway.auth.judges(401)
    assert (await gateway.request("GET", ME)).status == 401
    assert len(gateway.auth.questions) == 4


async def test_the_question_carries_what_chooses_the_words_of_a_denial_and_nothing_else(gateway):
    words = (("Accept", "application/msgpack"), ("Accept-Language", "es, en;q=0.5"), ("language", "ru"))
    more = (("Cookie", "a=b"), ("X-Forwarded-For", "1.2.3.4"), ("User-Agent", "u"), ("Content-Type", "text/plain"))
    body = b'{"token": "other"}'
    await gateway.request("POST", "/api/v1/users?token=other", *words, *more, ("X-Request-Id", "request-1"), body=body)
    question = gateway.auth.questions[0]
    assert question.start == "GET /verify-token HTTP/1.1"
    assert [question.get(name) for name, _ in words] == [value for _, value in words]
    assert question.get("Authorization") == "Bearer good"
    assert question.get("X-Request-Id") == "request-1"
    assert question.names == {"host", "accept", "accept-language", "language", "authorization", "x-request-id"}
    assert question.body == b""


async def test_a_denial_is_relayed_as_it_came(gateway):
    leak = (("Set-Cookie", "a=b"), ("Location", "http://auth-service/"), ("X-Parley-Sub", "1"), ("Server", "s"))
    gateway.auth.judges(401, b'{"error": "ung\xc3\xbcltig"}', *DENIAL, ("WWW-Authenticate", "Other"), *leak)
    answer = await gateway.request("GET", ME)
    assert (answer.status, answer.body) == (401, b'{"error": "ung\xc3\xbcltig"}')
    relayed = [header for header in answer.headers if header[0] not in ("Date", "Content-Length", "X-Request-Id")]
    assert relayed == [*DENIAL, ("WWW-Authenticate", "Other")]
    assert gateway.users.received == []


async def test_a_denial_of_head_has_no_body(gateway):
    gateway.auth.judges(401, b"words", *DENIAL)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("HEAD", ME) + gateway.bytes("GET", ME))
        assert (await connection.response(bodiless=True)).status == 401
        assert (await connection.response()).body == b"words"


@pytest.mark.parametrize(
    "change",
    [
        {"active": "true"},
        {"active": 1},
        {"active": False},
        {"active": None},
        {"sub": None},
        {"sub": 157},
        {"sub": ""},
        {"client_id": None},
        {"scope": None},
        {"scope": ["UserActivity"]},
        {"expires_in": None},
        {"expires_in": "900"},
        {"expires_in": 900.5},
        {"expires_in": True},
        {"internal_token": None},
        {"internal_token": 1},
        {"internal_token": ""},
        {"internal_token": "a b"},
        {"internal_token": "a\r\nX: y"},
    ],
)
async def test_an_allow_is_read_by_its_exact_types(gateway, change):
    gateway.auth.allows(**change)
    await _is_unknown(gateway)


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 307, 400, 403, 404, 405, 429, 500, 502, 503, 504, 999])
async def test_any_other_status_is_no_verdict(gateway, status):
    body = b"" if status == 204 else JSON_ALLOW
    headers = (("Content-Type", "application/json"), ("Location", "/oauth/token"))
    gateway.auth.judges(status, body, *headers, framed=status != 204)
    await _is_unknown(gateway)
    assert len(gateway.auth.received) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"true",
        b"\xff",
        b'{"active": true, "active": true}',
        b"<html>active</html>",
        b'{"active": tr',
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
async def test_an_unreadable_allow_is_no_verdict(gateway, body, content_type):
    gateway.auth.judges(200, body, ("Content-Type", content_type))
    await _is_unknown(gateway)


async def test_an_allow_that_is_not_json_by_its_type_is_no_verdict(gateway):
    gateway.auth.judges(200, JSON_ALLOW, ("Content-Type", "text/html"))
    await _is_unknown(gateway)
    gateway.auth.judges(200, JSON_ALLOW, ("Content-Type", "application/json; charset=utf-8"))
    assert (await gateway.request("GET", ME)).status == 200


async def test_an_allow_without_a_token_lets_nobody_in(gateway):
    answer = await gateway.request("GET", ME, token=None)
    assert answer.status == 503
    assert gateway.users.received == []


@pytest.mark.parametrize("status", [200, 401])
async def test_a_verdict_that_is_too_long_is_none(gateway, status):
    fitting = JSON_ALLOW + b" " * (64 * 1024 - len(JSON_ALLOW))
    gateway.auth.judges(status, fitting, ("Content-Type", "application/json"))
    assert (await gateway.request("GET", ME)).status == status
    gateway.users.reset()
    gateway.auth.judges(status, fitting + b" ", ("Content-Type", "application/json"))
    await _is_unknown(gateway)


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_truncated_verdict_is_none(gateway, status, framing):
    async def script(_message, _reader, writer):
        writer.write(f"HTTP/1.1 {status} R\r\nContent-Type: application/json\r\n{framing}\r\n\r\n".encode())
        writer.write(b"5\r\n{}   \r\n")
        writer.close()

    gateway.auth.verdict = script
    await _is_unknown(gateway)


@pytest.mark.parametrize(
    "reply", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"]
)
async def test_a_broken_answer_is_no_verdict(gateway, reply):
    async def script(_message, _reader, writer):
        writer.write(reply)
        writer.close()

    gateway.auth.verdict = script
    await _is_unknown(gateway)
    assert len(gateway.auth.received) == 1, "the question was asked again"


@pytest.mark.parametrize("given", ["7", "0", "99999"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_passed_on(gateway, status, given):
    gateway.auth.judges(status, b"", ("Retry-After", given))
    assert (await gateway.request("GET", ME)).get("Retry-After") == given


@pytest.mark.parametrize("given", ["", "soon", "-1", "1.5", "100000", "7, 8", "Mon, 01 Jan 2024 00:00:00 GMT"])
async def test_an_odd_retry_after_is_replaced(gateway, given):
    gateway.auth.judges(503, b"", ("Retry-After", given))
    assert (await gateway.request("GET", ME)).get("Retry-After") == "1"


async def test_a_silent_auth_service_is_not_waited_for_long(start_gateway):
    gateway = await start_gateway(verify_timeout=0.1)

    async def silence(_message, reader, _writer):
        await reader.read()

    gateway.auth.verdict = silence
    await _is_unknown(gateway)


@pytest.mark.parametrize(
    ("beginning", "more"),
    [(b"Content-Type: application/json\r\n\r\n", b" " * 4096), (b"", b"X: y\r\n" * 1000), (b"X: ", b"y" * 4096)],
)
async def test_an_endless_verdict_is_cut_off(start_gateway, beginning, more):
    gateway = await start_gateway(verify_timeout=60)

    async def endless(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + beginning)
        while not writer.is_closing():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0)

    gateway.auth.verdict = endless
    await _is_unknown(gateway)


async def test_a_dead_auth_service_is_no_verdict(start_gateway):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        gateway = await start_gateway(auth_url=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        await _is_unknown(gateway)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sub": "157", "scope": ""}, 200),
        ({"sub": "157", "scope": "UserActivity"}, 200),
        ({"sub": "157", "scope": "SignUp UserActivity"}, 200),
        ({"sub": "157", "scope": "SignUp"}, 403),
        ({"sub": "157", "scope": "useractivity"}, 403),
        ({"sub": "client:demo", "scope": "UserActivity"}, 403),
        ({"sub": "client:157", "scope": ""}, 403),
        ({"sub": "-157", "scope": ""}, 403),
        ({"sub": "1.5", "scope": ""}, 403),
        ({"sub": "\u0661\u0665\u0667", "scope": ""}, 403),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", ME), ("DELETE", "/api/v1/sessions/current")])
async def test_a_users_route_needs_a_token_that_acts_as_a_user(gateway, method, path, changes, status):
    gateway.auth.allows(**changes)
    answer = await gateway.request(method, path)
    assert answer.status == status
    assert len(gateway.auth.requests) + len(gateway.users.requests) == (status == 200)
    if status == 403:
        challenge = 'Bearer realm="parley", error="insufficient_scope", scope="UserActivity"'
        assert answer.get("WWW-Authenticate") == challenge
        assert answer.json()["error"] == "insufficient_scope"
        assert answer.get("Cache-Control") == "no-store"


async def test_a_sign_up_needs_no_token(gateway):
    assert (await gateway.request("POST", "/api/v1/users", token=None, body=b"{}")).status == 200
    assert gateway.auth.received == []
    assert gateway.users.requests[0].get("Authorization") is None


async def test_a_sign_up_with_a_token_is_verified_and_user_service_decides(gateway):
    gateway.auth.allows(sub="client:demo", scope="SignUp")
    assert (await gateway.request("POST", "/api/v1/users", body=b"{}")).status == 200
    assert gateway.users.requests[0].get("Authorization") == "Bearer internal.token.157"
    gateway.auth.judges(401, b"", *DENIAL)
    assert (await gateway.request("POST", "/api/v1/users", body=b"{}")).status == 401
    assert len(gateway.users.requests) == 1


@pytest.mark.parametrize("header", [("User-Agent", "kube-probe/1.30"), ("User-Agent", "GoogleHC/1.0")])
async def test_a_health_check_is_nobody_special(gateway, header):
    gateway.auth.judges(401, b"", *DENIAL)
    assert (await gateway.request("GET", ME, header, token=None)).status == 401


async def _is_unknown(gateway):
    answer = await gateway.request("GET", ME)
    assert answer.status == 503
    assert answer.json()["error"] == "temporarily_unavailable"
    assert answer.get("Retry-After") is not None
    assert answer.get("WWW-Authenticate") is None
    assert answer.get("Cache-Control") == "no-store"
    assert gateway.users.received == []
