"""The queue of the hashing threads: passwords are hashed in order of arrival, and only while their callers wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from .hashing import OUTDATED, add_users, check, costly_hash, hashing_goes_on, locked_users, until, verified


@pytest.fixture
async def busy(start: Callable[..., Any]) -> Callable[..., Awaitable[tuple[Any, asyncio.Task[Any]]]]:
    """Call with settings for a service and the request that keeps its only thread busy for a second."""

    async def busy(**settings: Any) -> tuple[Any, asyncio.Task[Any]]:
        service = await start(**{"hash_threads": 1, "hash_deadline": 60} | settings)
        await add_users(service, costly=costly_hash(), a=OUTDATED, b=OUTDATED, c=OUTDATED)
        costly = asyncio.create_task(check(service, "costly"))
        await hashing_goes_on()
        return service, costly

    return busy


async def left(logs: Any, number: int) -> None:
    """Wait until this many requests have ended because their callers left."""

    async def logged() -> bool:
        return [entry["status"] for entry in logs if entry["event"] == "request"].count(499) == number

    await until(logged)


async def test_a_caller_that_leaves_is_not_hashed_for(busy: Callable[..., Any]) -> None:
    with capture_logs() as logs:
        service, costly = await busy()
        leaving = [asyncio.create_task(check(service, name)) for name in ("a", "b")]
        staying = asyncio.create_task(check(service, "c"))
        await hashing_goes_on(0.2)
        for task in leaving:
            task.cancel()
        await left(logs, 2)
        assert not costly.done()  # they left the queue at once, not when their turn came
        assert ((await costly).status, (await staying).status) == (200, 200)
    assert await verified(service) == {"c"}


async def test_a_caller_that_left_before_it_came_into_the_queue_is_not_hashed_for(start: Callable[..., Any]) -> None:
    service = await start(hash_threads=1, hash_deadline=60)
    await add_users(service, a=OUTDATED)
    with capture_logs() as logs:
        async with locked_users(service.database_url) as users:
            leaving = asyncio.create_task(check(service, "a"))
            await users.wait_for(1)
            leaving.cancel()
        await left(logs, 1)
    assert await verified(service) == set()


async def test_a_caller_whose_time_is_over_is_answered_then_and_not_hashed_for(busy: Callable[..., Any]) -> None:
    service, costly = await busy()
    reply = await check(service, "a", **{"X-Parley-Timeout": "0.3"})
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert not costly.done()
    assert ((await costly).status, (await check(service, "b")).status) == (200, 200)
    assert await verified(service) == {"b"}


async def test_nobody_waits_longer_than_the_deadline_set(busy: Callable[..., Any]) -> None:
    service, costly = await busy(hash_deadline=0.3)
    assert (await check(service, "a")).status == 503
    assert not costly.done()
    assert ((await costly).status, (await check(service, "b")).status) == (200, 200)
    assert await verified(service) == {"b"}


async def test_first_come_first_served(busy: Callable[..., Any]) -> None:
    service, costly = await busy()
    served: list[str] = []

    async def log_in(name: str) -> None:
        await check(service, name)
        served.append(name)

    async with asyncio.TaskGroup() as waiting:
        for name in ("c", "a", "b"):
            waiting.create_task(log_in(name))
            await hashing_goes_on(0.1)
        assert not costly.done()
    assert served == ["c", "a", "b"]
    await costly
