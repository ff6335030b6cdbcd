"""No token, secret or password stands in a log, at any level, or in clear in a database; one id follows a request."""

import base64
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

import operations
from dev import testing
from drivers import BONGO, DRIVERS, RFC6749
from exchange import basic, bearer, post_form, post_json, send
from members import new_member


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Stack]:
    """A stack in which everything is logged that can be."""
    levels = {f"{service}_LOG_LEVEL": "debug" for service in ("AUTH", "USERS", "GATEWAY")}
    stack = testing.start(tmp_path_factory.mktemp("talkative") / "data", **levels)
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
async def http(talkative: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(talkative.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture(scope="module", autouse=True)
async def statements_logged(talkative: testing.Stack) -> None:
    connection = await operations.connect(talkative, "postgres")
    await connection.execute("ALTER SYSTEM SET log_statement = 'all'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


def written(stack: testing.Stack) -> str:
    """All that the stack's processes wrote."""
    assert stack.data_dir is not None
    files = [stack.data_dir / "output", *sorted((stack.data_dir / "logs").iterdir())]
    return "\n".join(file.read_text(errors="replace") for file in files)


async def stored(stack: testing.Stack) -> str:
    """Every row of every table of both databases, as text: bytes are in hex there."""
    texts = []
    for database in ("auth", "users"):
        connection = await operations.connect(stack, database)
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in tables:
            rows = await connection.fetch(f'SELECT t::text AS row FROM "{table["tablename"]}" t')
            texts.extend(row["row"] for row in rows)
        await connection.close()
    return "\n".join(texts)


def spellings(secret: str) -> set[str]:
    """A secret as it may stand somewhere: as it is, in hex, in base64."""
    raw = secret.encode()
    return {secret, raw.hex(), base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode()}


def canary(kind: str) -> str:
    return f"canary-{kind}-{secrets.token_hex(12)}"


async def use_every_dialect(http: aiohttp.ClientSession, password: str) -> list[str]:
    """Log in, refresh and fail in each; returns every secret that was sent or received."""
    known = [password]
    member = await replace(new_member(), password=password).sign_up(http)
    for driver in DRIVERS:
        tokens = await member.log_in(http, driver)
        known += [tokens.access_token, tokens.refresh_token or tokens.access_token]
        wrong = canary("wrong-password")
        await post_json(http, driver.path, member.request(driver, password=wrong))
        await driver.me(http, tokens.access_token)
        known.append(wrong)
        if driver.refreshes:
            refreshed = driver.tokens(await driver.refresh(http, tokens.refresh_token))
            bad = canary("refresh-token")
            await driver.refresh(http, bad)
            known += [refreshed.access_token, refreshed.refresh_token or "", bad]
    changed = canary("new-password")
    tokens = await member.log_in(http, RFC6749)
    body = {"current_password": password, "password": changed}
    reply = await post_json(http, f"/api/v1/users/{member.id}/password", body, bearer(tokens.access_token))
    assert reply.status == 204, reply
    return [*known, changed]


async def misplace_secrets(http: aiohttp.ClientSession) -> list[str]:
    """Put secrets where none belongs: query, path, headers that are too long or malformed, unknown clients."""
    misplaced = [canary(kind) for kind in ("query", "path", "basic", "body", "bearer", "login", "header", "too-long")]
    query, path, in_basic, in_body, token, login, header, long = misplaced
    await send(http, "POST", f"/oauth/token?grant_type=password&password={query}&client_secret={query}")
    await send(http, "GET", f"/api/v1/users/me?access_token={query}")
    await send(http, "GET", f"/no/such/path/{path}")
    await send(http, "GET", f"/api/v1/users/{path}")
    await post_form(http, "/oauth/token", [("grant_type", "client_credentials")], basic("demo", in_basic))
    await post_json(http, "/oauth/token", {"client_id": "demo", "client_secret": in_body, "grant_type": in_body})
    await send(http, "POST", "/oauth/token", {"Content-Type": "application/json"}, f'{{"password": "{in_body}')
    await send(http, "GET", "/api/v1/users/me", bearer(token))
    await send(http, "GET", "/api/v1/users/me", {"Authorization": f"Bearer {token} {token}"})
    await send(http, "GET", "/api/v1/users/me", {"Authorization": "Bearer " + long * 300})
    await send(http, "GET", "/api/v1/users/me", {"X-Request-Id": f"{header} \u00e9", "Cookie": f"session={header}"})
    await post_json(http, BONGO.path, {"grant_type": "password", "phone_number": login, "password": login})
    await post_json(http, "/api/v1/users", {"user": {"email": "a\0b", "password": in_body}})
    return misplaced


async def test_nothing_that_is_written_holds_a_secret(talkative: testing.Stack, http: aiohttp.ClientSession) -> None:
    client_secret = canary("client-secret")
    await operations.clients(talkative, "add", "canary", "--dialect=rfc6749", f"--secret={client_secret}")
    await post_form(http, "/oauth/token", [("grant_type", "client_credentials")], basic("canary", client_secret))
    known = [client_secret, *await use_every_dialect(http, canary("password")), *await misplace_secrets(http)]
    everywhere = {"the logs": written(talkative), "the databases": await stored(talkative)}
    assert "statement:" in everywhere["the logs"] or "execute" in everywhere["the logs"]
    found = [
        (place, secret)
        for place, text in everywhere.items()
        for secret in known
        if secret and any(spelling in text for spelling in spellings(secret))
    ]
    assert found == []


async def test_input_cannot_forge_a_line_of_the_log(talkative: testing.Stack, http: aiohttp.ClientSession) -> None:
    forged = '\r\n{"event": "token issued", "forged": true}\u2028\u001b[31m'
    await post_json(http, "/oauth/token", {"client_id": forged, "username": forged, "grant_type": "password"})
    await post_json(http, "/api/v1/users", {"user": {"username": forged, "password": forged}})
    await send(http, "GET", "/api/v1/users/me", {"User-Agent": "a\t{}", "Accept-Language": '"}\t{"'})
    for name in ("auth-service", "user-service", "gateway"):
        for line in _log(talkative, name).splitlines():
            entry = json.loads(line)
            assert isinstance(entry, dict)
            assert "forged" not in entry


async def test_one_request_id_stands_in_the_logs_of_all_three_services(
    talkative: testing.Stack, http: aiohttp.ClientSession
) -> None:
    given = f"test-{secrets.token_hex(8)}"
    reply = await post_json(http, RFC6749.path, RFC6749.password_request(), {"X-Request-Id": given})
    assert reply.headers["X-Request-Id"] == given

    async def everywhere() -> bool:
        return all(given in _log(talkative, name) for name in ("auth-service", "user-service", "gateway"))

    await operations.until(everywhere, 5)


def _log(stack: testing.Stack, name: str) -> str:
    assert stack.data_dir is not None
    return Path(stack.data_dir / "logs" / f"{name}.log").read_text()
