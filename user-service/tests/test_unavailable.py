"""While a dependency of the service is away, clients get 503, and never an error that blames them."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from servicekit.testing_relay import Relay


async def test_while_the_database_is_away_everything_is_503_and_then_all_is_well_again(
    start: Callable[..., Any], relay: Relay
) -> None:
    service = await start(database_url=relay.database_url)
    user = await service.add("correct horse battery", email="a@x.com")
    password = {"current_password": "correct horse battery", "password": "a completely new one"}
    consume = service.issuer.service_token("events:consume")
    check = {"token": service.issuer.service_token("credentials:check")}
    requests: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("POST", "/api/v1/users", {"user": {"email": "b@x.com", "password": "correct horse battery"}}, {}),
        ("GET", "/api/v1/users", None, {"user": user.id}),
        ("GET", "/api/v1/users/me", None, {"user": user.id}),
        ("GET", f"/api/v1/users/{user.id}", None, {"user": user.id}),
        ("PATCH", f"/api/v1/users/{user.id}", {"user": {"username": "b"}}, {"user": user.id}),
        ("POST", f"/api/v1/users/{user.id}/password", password, {"user": user.id}),
        ("DELETE", f"/api/v1/users/{user.id}", None, {"user": user.id}),
        ("POST", "/internal/credentials/check", {"login": "a@x.com", "password": "x"}, check),
        ("POST", "/internal/credentials/account", {"login": "a@x.com"}, check),
        ("GET", "/internal/events?wait=5", None, {"token": consume}),
        ("POST", "/internal/events/ack", {"ids": [1]}, {"token": consume}),
        ("GET", "/readyz", None, {}),
    ]
    assert (await service.request("GET", "/readyz")).status == 200
    await relay.cut()
    for method, path, body, who in requests:
        reply = await service.request(method, path, body, **who)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1"), (method, path)
    assert (await service.request("GET", "/healthz")).status == 200
    await relay.restore()
    assert (await service.request("GET", "/readyz")).status == 200
    assert (await service.check("a@x.com", "correct horse battery"))["id"] == user.id


async def test_readiness_returns_by_itself_once_the_database_can_be_written_to(service: Any) -> None:
    name = (await service.rows("SELECT current_database() AS name"))[0]["name"]
    await service.rows(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    await service.rows(end, name)
    async with asyncio.timeout(10):
        while not (reply := await service.request("GET", "/readyz")).json["reasons"][0].endswith("be written to"):
            pass
    assert reply.status == 503
    url = service.database_url
    connection = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "off"})
    await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await connection.close()
    async with asyncio.timeout(2):
        while (await service.request("GET", "/readyz")).status != 200:
            pass


async def test_while_no_key_is_known_a_token_is_neither_right_nor_wrong(start: Callable[..., Any]) -> None:
    service = await start(jwks_url="http://127.0.0.1:9/jwks.json")
    reply = await service.request("GET", "/api/v1/users/me", user=1)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert (await service.request("GET", "/api/v1/users/me")).status == 401


async def test_before_the_migrations_the_service_is_not_ready(
    start: Callable[..., Any], unmigrated_database_url: str
) -> None:
    service = await start(database_url=unmigrated_database_url)
    assert (await service.request("GET", "/readyz")).status == 503
    assert (await service.request("GET", "/healthz")).status == 200
