"""The dialect of an answer is that of the client's registration at every path, or else the path's default."""

from typing import Any

import aiohttp
import pytest

from drivers import (
    BONGO,
    BONGO_TOKEN,
    CUBUX,
    DOORKEEPER,
    DRIVERS,
    OAUTH2_TOKEN,
    OAUTH_TOKEN,
    PASSPORT,
    REFRESHING,
    RFC6749,
    TOKEN_PATHS,
    Driver,
)
from exchange import JSON, basic, post_form, post_json, send

every_dialect = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
every_path = pytest.mark.parametrize("path", TOKEN_PATHS)

MEMBERS = {
    "rfc6749": ["access_token", "token_type", "expires_in", "refresh_token"],
    "doorkeeper_jwt": ["access_token", "token_type", "expires_in", "refresh_token", "created_at", "user_id"],
    "doorkeeper": ["access_token", "token_type", "expires_in", "refresh_token", "created_at"],
    "cubux": ["access_token", "expires_in", "token_type", "scope", "refresh_token"],
    "passport": ["token_type", "expires_in", "access_token", "refresh_token"],
    "bongo": ["message", "result", "status"],
}


@every_path
@every_dialect
async def test_registration_names_the_dialect(client: aiohttp.ClientSession, driver: Driver, path: str) -> None:
    reply = await post_json(client, path, driver.password_request(**driver.identity))
    assert (reply.status, reply.names()) == (driver.status, MEMBERS[driver.name])
    assert await driver.accepts(client, driver.tokens(reply).access_token)


@every_path
@every_dialect
async def test_registration_names_the_dialect_of_an_error(
    client: aiohttp.ClientSession, driver: Driver, path: str
) -> None:
    """This also holds for errors that prevent the rest of the request from being read."""
    request = driver.password_request(**driver.identity)
    for changes, status, code in (
        ({"password": "wrong"}, *driver.refused_login),
        ({"password": None}, 400, "invalid_request"),
        ({"password": 5}, 400, "invalid_request"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"grant_type": ["password"]}, 400, "invalid_request"),
        ({"grant_type": "implicit"}, 400, "unsupported_grant_type"),
        ({"scope": "no such scope"}, 400, "invalid_scope"),
    ):
        driver.assert_error(await post_json(client, path, request | changes), status, code)
    driver.assert_error(await post_json(client, f"{path}?password=password", request), 400, "invalid_request")


@pytest.mark.parametrize(
    "driver", [driver for driver in DRIVERS if "client_secret" in driver.identity], ids=lambda driver: driver.name
)
async def test_client_is_found_by_http_basic(client: aiohttp.ClientSession, driver: Driver) -> None:
    headers = basic(driver.identity["client_id"], driver.identity["client_secret"])
    unnamed = driver.password_request(client_id=None, client_secret=None)
    for path in TOKEN_PATHS:
        reply = await post_form(client, path, unnamed, headers)
        assert (reply.status, reply.names()) == (driver.status, MEMBERS[driver.name])
    wrong = basic(driver.identity["client_id"], "wrong")
    refused = await post_form(client, driver.path, unnamed, wrong)
    driver.assert_error(refused, 401, "invalid_client")
    assert refused.challenge == 'Basic realm="parley", charset="UTF-8"'
    twice = await post_form(client, driver.path, unnamed | driver.identity, headers)
    driver.assert_error(twice, 400, "invalid_request")


@pytest.mark.parametrize("driver", REFRESHING, ids=lambda driver: driver.name)
async def test_refresh_token_is_good_at_every_path(client: aiohttp.ClientSession, driver: Driver) -> None:
    tokens = await driver.log_in(client)
    refresh_token = tokens.refresh_token
    for path in TOKEN_PATHS:
        members = {"grant_type": "refresh_token", "refresh_token": refresh_token, **driver.identity}
        reply = await post_json(client, path, members)
        assert (reply.status, reply.names()) == (driver.status, MEMBERS[driver.name])
        refresh_token = driver.tokens(reply).refresh_token


@pytest.mark.parametrize("driver", REFRESHING, ids=lambda driver: driver.name)
async def test_refresh_token_of_another_client_is_refused_and_stays_good(
    client: aiohttp.ClientSession, driver: Driver
) -> None:
    tokens = await driver.log_in(client)
    for other in REFRESHING:
        if other is not driver:
            reply = await other.refresh(client, tokens.refresh_token)
            other.assert_error(reply, 401 if other is DOORKEEPER else 400, "invalid_grant")
    assert await driver.accepts(client, tokens.access_token)
    assert (await driver.refresh(client, tokens.refresh_token)).status == driver.status


@pytest.mark.parametrize(("path", "default"), [(OAUTH_TOKEN, DOORKEEPER), (BONGO_TOKEN, BONGO)])
async def test_default_client_of_a_path_answers_where_none_is_named(
    client: aiohttp.ClientSession, path: str, default: Driver
) -> None:
    for nobody in ({}, {"client_id": ""}, {"client_id": None}):
        reply = await post_json(client, path, default.password_request() | nobody)
        assert reply.names() == MEMBERS[default.name]
        reply = await post_json(client, path, default.password_request(password="wrong") | nobody)
        default.assert_error(reply, *default.refused_login)
    default.assert_error(await post_json(client, path, {}), 400, "invalid_request")
    default.assert_error(
        await send(client, "POST", path, {"Content-Type": "application/x-www-form-urlencoded"}), 400, "invalid_request"
    )


async def test_path_without_a_default_client(client: aiohttp.ClientSession) -> None:
    for driver in DRIVERS:
        members = driver.password_request(client_id=None, client_secret=None)
        RFC6749.assert_error(await post_json(client, OAUTH2_TOKEN, members), 401, "invalid_client")


@every_path
@pytest.mark.parametrize("grant_type", ["password", "refresh_token", "client_credentials"])
async def test_unknown_client_is_answered_in_the_standard(
    client: aiohttp.ClientSession, path: str, grant_type: str
) -> None:
    members = {
        "grant_type": grant_type,
        "client_id": "unknown",
        "client_secret": "secret",
        "username": "person1@example.com",
        "password": "password",
        "refresh_token": "x" * 64,
    }
    RFC6749.assert_error(await post_json(client, path, members), 401, "invalid_client")


@every_path
@pytest.mark.parametrize("body", ["", "{", "[]", '"1"', "null", '{"client_id": "1",}', '{"client_id": 1}'])
async def test_body_that_cannot_be_read_is_answered_in_the_standard(
    client: aiohttp.ClientSession, path: str, body: str
) -> None:
    reply = await send(client, "POST", path, {"Content-Type": JSON, "language": "ru"}, body)
    RFC6749.assert_error(reply, 400, "invalid_request")


@pytest.mark.parametrize(
    ("driver", "members"),
    [
        (DOORKEEPER, {"username": "person1@example.com"}),
        (BONGO, {"username": "+8801700000000"}),
        (PASSPORT, {"login": "usuario@noveltie.com"}),
        (CUBUX, {"phone_number": "+8801700000000"}),
    ],
    ids=["doorkeeper", "bongo", "passport", "cubux"],
)
async def test_login_name_stands_in_the_dialects_own_parameter_only(
    client: aiohttp.ClientSession, driver: Driver, members: dict[str, Any]
) -> None:
    request = driver.password_request(**{driver.login_name: None}, **members)
    driver.assert_error(await post_json(client, driver.path, request), 400, "invalid_request")


async def test_user_logs_in_by_any_name_in_any_dialect(client: aiohttp.ClientSession) -> None:
    for login in ("person1@example.com", "User name", "+8801700000000"):
        for driver in (RFC6749, DOORKEEPER, PASSPORT):
            tokens = await driver.log_in(client, **{driver.login_name: login, "password": "password"})
            assert await driver.accepts(client, tokens.access_token)
