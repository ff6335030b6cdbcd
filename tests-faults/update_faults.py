"""A rolling update, alone and in the middle of other faults."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fault import HELD, NOTHING, UNAVAILABLE, Fault, with_redis
from hops import replicas
from postgres_faults import restarted
from process_faults import stopped
from replicas import Stack, kill

ORDER = ("user-service", "auth-service", "gateway")
STOPPED = "user-service-1"


async def roll(stack: Stack, *, but: str = "") -> None:
    """Replace every replica of every service, one after another."""
    for kind in ORDER:
        for name in replicas(kind):
            if name != but:
                await stack.replace(name)


@contextlib.asynccontextmanager
async def rolling_update(stack: Stack) -> AsyncIterator[None]:
    """Every replica is replaced, one after another."""
    await roll(stack)
    yield


@contextlib.asynccontextmanager
async def while_redis_hangs(stack: Stack) -> AsyncIterator[None]:
    """Redis is stopped from before the first replica is replaced until after the last."""
    async with stopped("redis")(stack):
        await roll(stack)
        yield


@contextlib.asynccontextmanager
async def while_postgres_restarts(stack: Stack) -> AsyncIterator[None]:
    """PostgreSQL is restarted while replicas are replaced."""
    rolling = asyncio.create_task(roll(stack))
    await asyncio.sleep(2)
    async with restarted(stack):
        await rolling
        yield


@contextlib.asynccontextmanager
async def while_one_is_stopped(stack: Stack) -> AsyncIterator[None]:
    """One replica is stopped; all others are replaced, and that one is killed at the end."""
    async with stopped(STOPPED)(stack):
        await roll(stack, but=STOPPED)
        await kill(stack.replicas[STOPPED].process)
        await stack.start_replicas([STOPPED])
        yield


FAULTS = [
    Fault("rolling-update", rolling_update, 1, NOTHING, over=0.0, longest=2.0),
    Fault(
        "rolling-update-while-redis-hangs", while_redis_hangs, 1, NOTHING, over=0.0, longest=2.0, prepared=with_redis
    ),
    Fault("rolling-update-while-postgres-restarts", while_postgres_restarts, 1, UNAVAILABLE, over=3.0, longest=5.0),
    Fault(
        f"rolling-update-while-{STOPPED}-is-stopped",
        while_one_is_stopped,
        1,
        HELD,
        over=1.0,  # after the end: until then, each new gateway has to detect that the replica hangs
        longest=2.0,
    ),
]
