"""Budgets in Redis, where all replicas count together. Each decision is one script, and each key has a lifetime."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from servicekit.throttling.budgets import (
    KNOWN_NETWORKS,
    KNOWN_SECONDS,
    LONGEST_DELAY,
    ROW_SECONDS,
    SLICE_SECONDS,
    Budget,
    Decision,
    Guess,
    GuessBudgets,
    Outcome,
    Verdict,
    Window,
)

TIMEOUT = 0.1
STEPS = 10
CLEAR_TIMEOUT = 5.0  # enough for millions of keys
PREFIX = "parley:throttle"

Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]


class BudgetsAwayError(Exception):
    """Redis did not answer in time, or not with what was asked."""


class RedisBudgets:
    """Raises BudgetsAwayError wherever Redis fails."""

    def __init__(self, redis: Redis, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._clock = clock
        self._admit, self._settle, self._charge = (
            redis.register_script(resources.files(__package__).joinpath(f"{name}.lua").read_text())
            for name in ("admit", "settle", "charge")
        )

    async def admit(self, budgets: GuessBudgets, guess: Guess, *, known: bool) -> Decision:
        """`known`: this process remembers that the network is known at the account."""
        arguments = (
            guess.network,
            int(known),
            budgets.pair.limit,
            budgets.pair.seconds * 1000,
            budgets.network.limit,
            budgets.network.seconds * 1000,
            budgets.free,
            budgets.row,
            budgets.known_row,
            ROW_SECONDS * 1000,
            LONGEST_DELAY * 1000,
            budgets.alarm,
            KNOWN_NETWORKS,
            KNOWN_SECONDS * 1000,
            guess.name,
        )
        verdict, budget, wait, known_there, alarm = await _answer(self._admit(self._keys(budgets, guess), arguments))
        return Decision(Verdict(verdict), Budget[budget.decode()], wait / 1000, bool(known_there), bool(alarm))

    async def settle(self, budgets: GuessBudgets, guess: Guess, outcome: Outcome, *, known: bool) -> None:
        lifetimes = (KNOWN_SECONDS * 1000, 2 * SLICE_SECONDS * 1000)
        arguments = (guess.network, outcome.value, int(known), KNOWN_NETWORKS, *lifetimes, guess.name)
        await _answer(self._settle(self._keys(budgets, guess), arguments))

    async def charge(self, name: str, key: str, window: Window) -> float:
        """Count one; returns the seconds until there is room again, 0 where there was."""
        left = await _answer(self._charge([f"{PREFIX}:{name}:{key}"], (window.limit, window.seconds * 1000)))
        return float(left) / 1000

    async def clear(self, kind: str, account: str, name: str) -> bool:
        """Forget failures at the account; False where there were none. Networks keep their counts, and stay known.

        Looks at every key there is, which takes a while.
        """
        prefix = f"{PREFIX}:{kind}"
        keys = [f"{prefix}:account:{account}", f"{prefix}:name:{name}"]
        try:
            async with asyncio.timeout(CLEAR_TIMEOUT):
                keys += [key.decode() async for key in self._redis.scan_iter(f"{prefix}:pair:{account}:*", count=1000)]
                return bool(await self._redis.delete(*keys))
        except (RedisError, OSError, TimeoutError) as error:
            raise BudgetsAwayError(type(error).__name__) from error

    def _keys(self, budgets: GuessBudgets, guess: Guess) -> list[str]:
        prefix = f"{PREFIX}:{budgets.kind}"
        now = int(self._clock()) // SLICE_SECONDS
        return [
            f"{prefix}:pair:{guess.account}:{guess.network}",
            f"{prefix}:account:{guess.account}",
            f"{prefix}:network:{guess.network}",
            f"{prefix}:known:{guess.name}",
            f"{prefix}:total:{now}",
            f"{prefix}:total:{now - 1}",
            f"{prefix}:name:{guess.name}",
        ]


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(None) as limit, _patience(limit):
            return await call
    except (RedisError, OSError, TimeoutError) as error:
        raise BudgetsAwayError(type(error).__name__) from error


@contextlib.asynccontextmanager
async def _patience(limit: asyncio.Timeout) -> AsyncIterator[None]:
    """Time out after so many steps, each of which the loop must come round for.

    While this process is busy an answer may have come and not been read: that is not held against Redis.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def step(left: int) -> None:
        nonlocal timer
        if left == 0:
            limit.reschedule(loop.time())
        else:
            timer = loop.call_later(TIMEOUT / STEPS, step, left - 1)

    step(STEPS)
    try:
        yield
    finally:
        timer.cancel()


@contextlib.asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """A client that tries nothing twice, and leaves time limits to its user."""
    redis = Redis.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        # A connection is ready as soon as it is open: nothing is told to Redis that needs an answer first.
        protocol=2,
        driver_info=None,
    )
    try:
        yield redis
    finally:
        await redis.aclose()
