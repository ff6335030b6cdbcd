"""RFC 6750: the ways to present an access token, the refusals, and the resources that no token opens."""

import base64
import json
from typing import Any

import aiohttp
import pytest

from dev.testing import Stack
from drivers import DOORKEEPER, DRIVERS, RFC6749, Driver
from exchange import basic, bearer, post_form, send, send_raw
from people import Person

ME = "/api/v1/users/me"
BARE = 'Bearer realm="parley"'
INVALID = 'Bearer realm="parley", error="invalid_token", error_description="The access token is invalid."'
MALFORMED = 'Bearer realm="parley", error="invalid_request"'


@pytest.fixture(scope="module")
async def token(client: aiohttp.ClientSession) -> str:
    return (await RFC6749.log_in(client)).access_token


@pytest.mark.parametrize("headers", [{}, basic("demo", "demo-secret"), {"Authorization": "Digest x=1"}], ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ME),
        ("GET", "/api/v1/users/1"),
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/sessions"),
        ("DELETE", "/api/v1/sessions/current"),
    ],
)
async def test_request_without_a_token_gets_a_bare_challenge(
    client: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str]
) -> None:
    reply = await send(client, method, path, headers)
    assert (reply.status, reply.challenge) == (401, BARE)
    assert "error" not in reply.json()
    reply.assert_not_stored()


def _unsigned(token: str, header: dict[str, Any]) -> str:
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{encoded}.{token.split('.')[1]}."


async def test_bad_tokens_are_refused_in_one_wording(client: aiohttp.ClientSession, person: Person) -> None:
    good = (await RFC6749.log_in(client, **person.login)).access_token
    header, claims, signature = good.split(".")
    ended = (await RFC6749.log_in(client, **person.login)).access_token
    assert (await send(client, "DELETE", "/api/v1/sessions/current", bearer(ended))).status == 204
    bad = [
        ended,
        f"{header}.{claims}.",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        f"{header}.{claims[:-4]}AAAA.{signature}",
        good + "=",
        _unsigned(good, {"typ": "at+jwt", "alg": "none"}),
        _unsigned(good, {"typ": "at+jwt", "alg": "ES256", "kid": "../../etc/passwd"}),
        _unsigned(good, {"typ": "at+jwt", "alg": "ES256"}) + signature,
        "unknown",
        "a" * 4000,
    ]
    assert await RFC6749.accepts(client, good)
    for text in bad:
        reply = await send(client, "GET", ME, bearer(text))
        RFC6749.assert_error(reply, 401, "invalid_token")
        assert (reply.challenge, reply.json()["error_description"]) == (INVALID, "The access token is invalid.")


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
async def test_refused_token_is_answered_in_its_own_dialect(client: aiohttp.ClientSession, driver: Driver) -> None:
    tokens = await driver.log_in(client)
    ended = await send(client, "DELETE", "/api/v1/sessions/current", bearer(tokens.access_token))
    assert ended.status == 204
    reply = await driver.me(client, tokens.access_token)
    if driver is DOORKEEPER:
        assert (reply.status, reply.json()) == (401, {"error": "The access token is invalid"})
    else:
        driver.assert_error(reply, 401, "unauthorized" if driver.name == "bongo" else "invalid_token")
    assert reply.challenge == INVALID
    reply.assert_not_stored()
    reply.assert_silent_about(tokens.access_token)


async def test_token_is_taken_from_the_header_only(client: aiohttp.ClientSession, token: str) -> None:
    assert (await send(client, "GET", ME, bearer(token))).status == 200
    for reply in (
        await send(client, "GET", f"{ME}?access_token={token}"),
        await send(client, "GET", ME, {"Cookie": f"access_token={token}"}),
        await post_form(client, "/api/v1/users/1/password", {"access_token": token}),
    ):
        assert (reply.status, reply.challenge) == (401, BARE)
    both = await send(client, "GET", f"{ME}?access_token={token}", bearer(token))
    assert (both.status, both.challenge, both.json()["error"]) == (400, MALFORMED, "invalid_request")
    both.assert_silent_about(token)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER"])
async def test_scheme_is_compared_without_case(client: aiohttp.ClientSession, token: str, scheme: str) -> None:
    assert (await send(client, "GET", ME, {"Authorization": f"{scheme} {token}"})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        ["Bearer"],
        ["Bearer "],
        ["Bearer  {}"],
        ["Bearer\t{}"],
        ["Bearer {},"],
        ["Bearer {}, Basic x"],
        ["Bearer {} {}"],
        ['Bearer "{}"'],
        ["Bearer {}ü"],
        ["Bearer {}" + "x" * 4096],
        ["Bearer {}", "Bearer {}"],
        ["Bearer {}", "Basic eDp5"],
        [""],
    ],
    ids=lambda headers: str(headers)[:30],
)
async def test_malformed_bearer_header(stack: Stack, token: str, headers: list[str]) -> None:
    lines = "".join(f"Authorization: {value.replace('{}', token)}\r\n" for value in headers)
    request = f"GET {ME} HTTP/1.1\r\nHost: parley\r\nConnection: close\r\n{lines}\r\n"
    reply = await send_raw(stack.url, request.encode())
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    reply.assert_silent_about(token[:20])


async def test_over_long_bearer_header(stack: Stack, token: str) -> None:
    value = f"Bearer {token}" + "x" * 9000
    request = f"GET {ME} HTTP/1.1\r\nHost: parley\r\nConnection: close\r\nAuthorization: {value}\r\n\r\n"
    reply = await send_raw(stack.url, request.encode())
    assert (reply.status, reply.json()["error"]) == (431, "invalid_request")
    reply.assert_silent_about(token[:20])


@pytest.mark.parametrize(
    "target",
    [
        "/verify-token",
        "/verify-token/",
        "/verify-token/oauth/token",
        "/verify-token?x",
        "//verify-token",
        "/./verify-token",
        "/oauth/../verify-token",
        "/oauth/%2e%2e/verify-token",
        "/oauth/..%2fverify-token",
        "/%76erify-token",
        "/verify%2Dtoken",
        "/verify%252Dtoken",
        "/Verify-Token",
        "/verify-token;x",
        "/verify-token%00",
        "/oauth/token/../../verify-token",
        "http://auth-service/verify-token",
        "/internal/credentials/check",
        "/internal/credentials/account",
        "/internal/events",
        "/healthz",
        "/readyz",
        "/metrics",
    ],
)
async def test_internal_endpoints_cannot_be_reached(stack: Stack, token: str, target: str) -> None:
    for method in ("GET", "POST"):
        request = (
            f"{method} {target} HTTP/1.1\r\nHost: auth-service\r\nConnection: close\r\nContent-Length: 0\r\n"
            f"Authorization: Bearer {token}\r\nX-Original-URL: /verify-token\r\nX-Rewrite-URL: /verify-token\r\n\r\n"
        )
        reply = await send_raw(stack.url, request.encode())
        assert reply.status in (400, 404)
        assert reply.json()["error"] in ("invalid_request", "not_found")
        assert not any(name.lower().startswith("x-parley") for name in reply.headers)
