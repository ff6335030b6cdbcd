"""A statement that reaches the database after its caller has given up changes nothing."""

import struct
from collections.abc import Awaitable
from typing import Any

import pytest

from servicekit import testing_relay
from servicekit.testing_relay import Relay

PATIENCE = 1.0
ASKED = {"X-Parley-Timeout": str(PATIENCE)}
PASSWORD = "correct horse battery"
HASH = b"$argon2id$"


async def answered_late(relay: Relay, request: Awaitable[Any], containing: bytes, after: int = 0) -> Any:
    return await testing_relay.answered_late(relay, request, PATIENCE, containing, after)


@pytest.fixture
async def held(start: Any, relay: Relay) -> Any:
    """A service behind the relay, with one connection besides the one that listens."""
    return await start(database_url=relay.database_url, database_pool_size=2)


async def everything(service: Any) -> list[Any]:
    """All users and events."""
    return [await service.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "outbox")]


async def test_a_late_sign_up_adds_nobody(held: Any, relay: Relay) -> None:
    async def sign_up(email: str) -> Any:
        body = {"user": {"email": email, "password": PASSWORD}}
        return await held.request("POST", "/api/v1/users", body, headers=ASKED)

    assert (await sign_up("a@x.com")).status == 200
    before = await everything(held)
    assert (await answered_late(relay, sign_up("b@x.com"), HASH)).status == 503
    assert await everything(held) == before
    assert (await sign_up("b@x.com")).status == 200


async def test_a_late_change_of_names_changes_nothing(held: Any, relay: Relay) -> None:
    user = await held.add(email="a@x.com")

    async def rename(name: str) -> Any:
        body = {"user": {"username": name}}
        return await held.request("PATCH", f"/api/v1/users/{user.id}", body, user=user.id, headers=ASKED)

    assert (await rename("first")).status == 200
    before = await everything(held)
    assert (await answered_late(relay, rename("second"), b"second")).status == 503
    assert await everything(held) == before


async def test_a_late_change_of_password_changes_nothing(held: Any, relay: Relay) -> None:
    user = await held.add(PASSWORD, email="a@x.com")

    async def change(current: str, new: str) -> Any:
        body = {"current_password": current, "password": new}
        return await held.request("POST", f"/api/v1/users/{user.id}/password", body, user=user.id, headers=ASKED)

    async with held.acknowledging():
        assert (await change(PASSWORD, "a completely new one")).status == 204
    before = await everything(held)
    assert (await answered_late(relay, change("a completely new one", PASSWORD), HASH)).status == 503
    assert await everything(held) == before


async def test_a_late_deletion_deletes_nobody(held: Any, relay: Relay) -> None:
    spare, user = await held.add(email="a@x.com"), await held.add(email="b@x.com")

    async def delete(user_id: int) -> Any:
        return await held.request("DELETE", f"/api/v1/users/{user_id}", user=user_id, headers=ASKED)

    async with held.acknowledging():
        assert (await delete(spare.id)).status == 204
    before = await everything(held)
    assert (await answered_late(relay, delete(user.id), struct.pack(">q", user.id), after=1)).status == 503
    assert await everything(held) == before


@pytest.mark.parametrize("what", ["sign up", "change names", "change the password", "delete"])
async def test_what_waited_too_long_for_a_lock_changes_nothing(service: Any, what: str) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    lock, path = "SELECT FROM users FOR UPDATE", f"/api/v1/users/{user.id}"
    if what == "sign up":
        lock = "INSERT INTO users (email, email_key) VALUES ('b@x.com', 'b@x.com')"
        body: Any = {"user": {"email": "b@x.com", "password": PASSWORD}}
        request = service.request("POST", "/api/v1/users", body, headers=ASKED)
    elif what == "change names":
        request = service.request("PATCH", path, {"user": {"username": "b"}}, user=user.id, headers=ASKED)
    elif what == "change the password":
        body = {"current_password": PASSWORD, "password": "a completely new one"}
        request = service.request("POST", f"{path}/password", body, user=user.id, headers=ASKED)
    else:
        request = service.request("DELETE", path, user=user.id, headers=ASKED)
    before = await everything(service)
    reply = await testing_relay.answered_after_lock(service.database_url, lock, request, PATIENCE)
    assert reply.status == 503
    assert await everything(service) == before
