"""Admission to hashing: a request that would wait too long is refused before any costly work is done."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from .hashing import OUTDATED, add_users, check, costly_hash, hashing_seconds, locked_users, until

# Less than the time of one hash: there is room for one waiting hash, and for no more.
ROOM_FOR_ONE = {"hash_threads": 1, "hash_deadline": 0.002}
LESS_THAN_A_HASH = 0.004  # not zero, because a thread that goes to sleep also uses some time


async def test_without_room_it_is_503_and_neither_hashed_nor_looked_up(start: Callable[..., Any]) -> None:
    service = await start(**ROOM_FOR_ONE)
    async with locked_users(service.database_url) as users:
        first = asyncio.create_task(check(service))
        await users.wait_for(1)
        before = hashing_seconds()
        for refused in (await check(service), await service.sign_up(email="a@x.com")):
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert refused.headers["X-Parley-Overload"] == "1"
            assert refused.json["title"] == "Service Unavailable"
        assert hashing_seconds() < before + LESS_THAN_A_HASH
        assert await users.waiting() == 1
    assert (await first).status == 200
    assert (await service.sign_up(email="a@x.com")).status == 200


async def test_what_is_malformed_is_said_also_without_room(start: Callable[..., Any]) -> None:
    service = await start(**ROOM_FOR_ONE)
    async with locked_users(service.database_url) as users:
        first = asyncio.create_task(check(service))
        await users.wait_for(1)
        assert (await service.sign_up(email="a@x.com", password="short")).faulty_fields == {"user.password"}
    assert (await first).status == 200


async def test_who_needs_no_hash_needs_no_room(start: Callable[..., Any]) -> None:
    service = await start(**ROOM_FOR_ONE)
    await service.add(username="somebody")
    async with locked_users(service.database_url) as users:
        first, other = asyncio.create_task(check(service)), asyncio.create_task(service.add(username="other"))
        await users.wait_for(2)
    assert (await first).status == 200
    assert (await other).username == "other"


async def flood(service: Any, number: int) -> None:
    async with locked_users(service.database_url) as users:
        first = asyncio.create_task(check(service))
        await users.wait_for(1)
        assert {(await check(service)).status for _ in range(number)} == {503}
    await first


async def test_a_flood_is_logged_in_a_line_a_second_and_without_traces(start: Callable[..., Any]) -> None:
    service = await start(**ROOM_FOR_ONE)
    with capture_logs() as logs:

        async def all_counted() -> bool:
            lines = [entry["no_room"] for entry in logs if entry["event"] == "passwords not hashed"]
            return 0 < len(lines) <= 10 and sum(lines) == statuses().count(503)

        def statuses() -> list[int]:
            return [entry["status"] for entry in logs if entry["event"] == "request"]

        for number in (30, 20):
            await flood(service, number)
            await until(all_counted)
    assert statuses().count(503) == 50
    assert not [entry for entry in logs if entry["event"] == "unavailable" or entry.get("exc_info")]


@pytest.mark.parametrize("timeout", ["0", "0.001"])
async def test_a_caller_that_does_not_wait_for_a_hash_is_refused_before_it(service: Any, timeout: str) -> None:
    before = hashing_seconds()
    assert (await check(service, **{"X-Parley-Timeout": timeout})).status == 503
    assert hashing_seconds() < before + LESS_THAN_A_HASH
    assert (await check(service, **{"X-Parley-Timeout": "10"})).status == 200


async def test_the_queue_is_as_long_as_the_caller_waits_and_who_is_refused_is_told_when_to_come(
    start: Callable[..., Any],
) -> None:
    service = await start(hash_threads=1, hash_deadline=60)
    await add_users(service, costly=costly_hash())
    before = hashing_seconds()
    assert (await check(service, "costly")).status == 200
    estimate = 0.1 * (hashing_seconds() - before)  # a lower bound
    async with locked_users(service.database_url) as users:
        waiting = [asyncio.create_task(check(service)) for _ in range(25)]
        await users.wait_for(3)  # one for each connection to the database

        async def refused() -> bool:
            reply = await check(service, **{"X-Parley-Timeout": "0.5"})
            return reply.status == 503 and int(reply.headers["Retry-After"]) >= 26 * estimate - 0.5

        await until(refused)
    assert {(await task).status for task in waiting} == {200}
    assert (await check(service, **{"X-Parley-Timeout": "5"})).status == 200


async def test_room_is_given_back_also_by_what_was_never_hashed(start: Callable[..., Any]) -> None:
    service = await start(**ROOM_FOR_ONE)
    user = await service.add(username="user")
    for _ in range(3):
        assert (await service.sign_up(username="user")).status == 409
        password = {"current_password": "wrong", "password": "a completely new one"}
        reply = await service.request("POST", f"/api/v1/users/{user.id}/password", password, user=user.id)
        assert (reply.status, reply.faulty_fields) == (422, {"current_password"})
    assert (await service.sign_up(username="other")).status == 200


async def test_hashes_that_took_too_long_once_do_not_close_the_door_for_ever(start: Callable[..., Any]) -> None:
    service = await start(hash_threads=1, hash_deadline=0.08)
    await add_users(service, costly=costly_hash(), user=OUTDATED)
    for _ in range(2):
        assert (await check(service, "costly")).status == 200
    assert (await check(service, "user")).json["user"] is not None
