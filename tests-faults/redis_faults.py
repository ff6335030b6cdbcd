"""Redis that is full or flushed. `process_faults` stops and kills it."""

import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from dev import redis
from fault import NOTHING, Fault, with_redis
from replicas import Stack


@contextlib.asynccontextmanager
async def full(stack: Stack) -> AsyncIterator[None]:
    """Redis is out of memory and refuses every write."""
    async with Redis.from_url(redis.url(6379)) as client:
        await client.config_set("maxmemory", 1)
        yield
        await client.config_set("maxmemory", 0)


@contextlib.asynccontextmanager
async def flushed(stack: Stack) -> AsyncIterator[None]:
    """Redis has lost all its data."""
    async with Redis.from_url(redis.url(6379)) as client:
        await client.flushall()
        yield


FAULTS = [
    Fault("redis-full", full, 3, NOTHING, over=0.0, longest=2.0, prepared=with_redis),
    Fault("redis-flushed", flushed, 2, NOTHING, over=0.0, longest=2.0, prepared=with_redis),
]
