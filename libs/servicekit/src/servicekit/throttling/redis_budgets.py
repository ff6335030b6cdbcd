"""Budgets in Redis, where all replicas count together. Each decision is one script, and each key expires."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from servicekit import wire
from servicekit.throttling.budgets import (
    FEW,
    FEW_SECONDS,
    KNOWN_NETWORKS,
    KNOWN_SECONDS,
    LONGEST_DELAY,
    ROW_SECONDS,
    SLICE_SECONDS,
    WIDER,
    Budget,
    Decision,
    Guess,
    GuessBudgets,
    Outcome,
    Ruling,
    Window,
)

TIMEOUT = 0.1
STEPS = 10
CLEAR_TIMEOUT = 5.0  # enough for millions of keys
PREFIX = "parley:throttle"

Script = Callable[[Sequence[str], Sequence[str | int | bytes]], Awaitable[Any]]


class BudgetsAwayError(Exception):
    """Redis did not answer in time, or answered with an error."""


class RedisBudgets:
    """Counts in Redis. Every method raises BudgetsAwayError if Redis fails."""

    def __init__(self, redis: Redis, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._clock = clock
        self._admit, self._settle, self._charge = (
            redis.register_script(resources.files(__package__).joinpath(f"{name}.lua").read_text())
            for name in ("admit", "settle", "charge")
        )

    async def admit(self, budgets: GuessBudgets, guess: Guess, *, known: bool) -> Decision:
        """Decide on a guess. `known` is true if this process remembers that the network is known at the account."""
        arguments = (guess.network, int(known), _numbers(budgets))
        ruling, budget, wait, known_there, alarm = await _answer(self._admit(self._keys(budgets, guess), arguments))
        return Decision(Ruling(ruling), Budget[budget.decode()], wait / 1000, bool(known_there), bool(alarm))

    async def settle(self, budgets: GuessBudgets, guess: Guess, outcome: Outcome, *, known: bool) -> None:
        lifetimes = (KNOWN_SECONDS * 1000, 2 * SLICE_SECONDS * 1000)
        arguments = (guess.network, guess.account, outcome.value, int(known), KNOWN_NETWORKS, *lifetimes)
        await _answer(self._settle(self._keys(budgets, guess), arguments))

    async def charge(self, name: str, windows: Mapping[str, Window]) -> float:
        """Count one for each key, or for none if a window is full; all windows are equally long.

        Returns the seconds until there is room again, 0 if it was counted.
        """
        keys = [f"{PREFIX}:{name}:{key}" for key in windows]
        limits = [window.limit for window in windows.values()]
        seconds = max(window.seconds for window in windows.values())
        return float(await _answer(self._charge(keys, (*limits, seconds * 1000)))) / 1000

    async def clear(self, kind: str, account: str) -> bool:
        """Clear the failures at the account; returns False if there were none.

        Networks keep their counts, and stay known at the account. This scans every key, which takes a while.
        """
        prefix = f"{PREFIX}:{kind}"
        keys = [f"{prefix}:account:{account}", f"{prefix}:known failures:{account}"]
        try:
            async with asyncio.timeout(CLEAR_TIMEOUT):
                keys += [key.decode() async for key in self._redis.scan_iter(f"{prefix}:pair:{account}:*", count=1000)]
                return bool(await self._redis.delete(*keys))
        except (RedisError, OSError, TimeoutError) as error:
            raise BudgetsAwayError(type(error).__name__) from error

    def _keys(self, budgets: GuessBudgets, guess: Guess) -> list[str]:
        prefix = f"{PREFIX}:{budgets.kind}"
        networks = (guess.network, guess.wide_network)
        now = int(self._clock()) // SLICE_SECONDS
        return [
            *(f"{prefix}:pair:{guess.account}:{network}" for network in networks),
            *(f"{prefix}:network:{network}" for network in networks),
            *(f"{prefix}:attempts:{guess.account}:{network}" for network in networks),
            f"{prefix}:account:{guess.account}",
            f"{prefix}:known:{guess.account}",
            f"{prefix}:known failures:{guess.account}",
            *(f"{prefix}:total:{slice_}" for slice_ in (now, now - 1)),
            *(f"{prefix}:succeeded:{slice_}" for slice_ in (now, now - 1)),
        ]


def _numbers(budgets: GuessBudgets) -> bytes:
    """The arguments of admit.lua: limits, and times in milliseconds."""
    return wire.encode(
        {
            "pair": budgets.pair.limit,
            "pair_ms": budgets.pair.seconds * 1000,
            "network": budgets.network.limit,
            "network_ms": budgets.network.seconds * 1000,
            "attempts": budgets.attempts.limit if budgets.attempts else 0,
            "attempts_ms": budgets.attempts.seconds * 1000 if budgets.attempts else 0,
            "wider": WIDER,
            "free": budgets.free,
            "row": budgets.row,
            "row_ms": ROW_SECONDS * 1000,
            "few": FEW,
            "few_ms": FEW_SECONDS * 1000,
            "known_row": budgets.known_row,
            "known_kept": KNOWN_NETWORKS,
            "known_ms": KNOWN_SECONDS * 1000,
            "longest_delay": LONGEST_DELAY * 1000,
            "alarm": budgets.alarm,
        }
    )


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(None) as limit, _patience(limit):
            return await call
    except (RedisError, OSError, TimeoutError) as error:
        raise BudgetsAwayError(type(error).__name__) from error


@contextlib.asynccontextmanager
async def _patience(limit: asyncio.Timeout) -> AsyncIterator[None]:
    """Time out after `STEPS` steps, each of which takes a round of the event loop.

    While this process is busy, an answer may have arrived without being read; that is no failure of Redis.
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
    """A client that retries nothing, and leaves time limits to its user."""
    redis = Redis.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        # A connection is ready as soon as it is open: no command is sent whose answer would have to be awaited first.
        protocol=2,
        driver_info=None,
    )
    try:
        yield redis
    finally:
        await redis.aclose()
