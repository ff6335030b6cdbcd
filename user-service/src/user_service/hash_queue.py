"""The queue for hashing threads: nobody enters who would wait too long, and no work is done that nobody waits for."""

import asyncio
import contextlib
import contextvars
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import structlog

from servicekit import callers
from servicekit.http import OverloadedError

# How much the newest hash counts in the running estimate: a change of speed shows after some ten hashes.
WEIGHT = 0.1
LOG_INTERVAL = 1.0

R = TypeVar("R")

log = structlog.get_logger()


class Admission:
    """Room in the queue for a number of hashes that have not been started."""

    def __init__(self, hashes: int) -> None:
        self.hashes = hashes


class HashQueue:
    """Hashes on `threads` threads, first come, first served; none waits longer than `deadline` seconds.

    `hash_time` is the first estimate of the seconds that a hash takes.
    """

    def __init__(self, executor: ThreadPoolExecutor, threads: int, deadline: float, hash_time: float) -> None:
        self._executor = executor
        self._threads = threads
        self._deadline = deadline
        self._free_threads = asyncio.Semaphore(threads)
        self._waiting = 0
        self._longest_hash_time = deadline * threads
        self._hash_time = min(hash_time, self._longest_hash_time)
        self.counters: Counter[str] = Counter()
        self._refused = Tally()

    @contextlib.contextmanager
    def admission(self, hashes: int) -> Iterator[Admission]:
        """Room for so many hashes one after the other, held until the context ends. Raises OverloadedError at once."""
        self._check_room()
        admission = Admission(hashes)
        self._waiting += hashes
        try:
            yield admission
        finally:
            self._waiting -= admission.hashes

    async def run(self, admission: Admission, work: Callable[[], R]) -> R:
        """Do one of the hashes admitted. Raises OverloadedError or CallerGoneError where it is not started."""
        await self._take_thread()
        admission.hashes -= 1
        self._waiting -= 1
        try:
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._executor, _timed, work)
        finally:
            self._free_threads.release()
        self._learn(seconds)
        self.counters["passwords hashed"] += 1
        return result

    def close(self) -> None:
        """Log what has been counted and not been logged."""
        self._refused.close()

    def _check_room(self) -> None:
        patience = min(self._deadline, callers.current().remaining())
        # As a product, for the quotient may round up what fits exactly.
        work = (self._waiting + 1) * self._hash_time
        if work > patience * self._threads:
            self._refuse("no_room", work / self._threads - max(patience, 0.0))

    async def _take_thread(self) -> None:
        """Wait for a free thread. Whether the caller still waits is asked last, right before its hash is started."""
        caller = callers.current()
        try:
            async with caller.waiting(asyncio.get_running_loop().time() + self._deadline):
                await self._free_threads.acquire()
        except TimeoutError:
            self._drop(caller)
        if caller.gone or caller.remaining() <= 0:
            self._free_threads.release()
            self._drop(caller)

    def _drop(self, caller: callers.Caller) -> NoReturn:
        if caller.gone:
            self._count("caller_gone")
            raise callers.CallerGoneError
        self._refuse("too_late", 0.0)

    def _refuse(self, reason: str, seconds_until_room: float) -> NoReturn:
        self._count(reason)
        raise OverloadedError(retry_after=max(1, math.ceil(seconds_until_room)))

    def _count(self, reason: str) -> None:
        self.counters[f"passwords not hashed: {reason}"] += 1
        self._refused.count(reason)

    def _learn(self, seconds: float) -> None:
        """Never above what lets one into an empty queue: else none would enter, and none be measured, ever again."""
        mean = WEIGHT * seconds + (1 - WEIGHT) * self._hash_time
        self._hash_time = min(mean, self._longest_hash_time)


class Tally:
    """Counts hashes that were not started, and logs the counts at most once a second: a flood must not fill the log."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        self._counts[reason] += 1
        if self._timer is None:
            # Outside of the request's context, whose id would stand for all that were counted.
            empty = contextvars.Context()
            self._timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self._write, context=empty)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._write()

    def _write(self) -> None:
        self._timer = None
        log.warning("passwords not hashed", **self._counts)
        self._counts.clear()


def _timed(work: Callable[[], R]) -> tuple[R, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started
