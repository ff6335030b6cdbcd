"""The queue for hashing threads: requests that would wait too long are refused, and abandoned ones are not hashed."""

import asyncio
import contextlib
import contextvars
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import structlog

from servicekit import callers
from servicekit.http import OverloadedError
from user_service.hash_shares import Admission, Excess, Shares
from user_service.hash_turns import Turn, Turns

# The weight of the newest hash in the running estimate: a change of speed shows after about ten hashes.
WEIGHT = 0.1
LOG_INTERVAL = 1.0
# The share of the hashes that fit into the deadline, and its minimum in hashes: a change of password takes two.
SHARE = 0.25
LEAST_SHARE = 2

R = TypeVar("R")

log = structlog.get_logger()


class OverShareError(OverloadedError):
    """The request is refused so that others have room.

    The answer does not say that the service is full: a service that sends requests of many callers need not back off.
    """

    headers: Mapping[str, str] = {}


class HashQueue:
    """Hashes on `threads` threads: wide networks take turns, within each its networks, and within those the accounts.

    No hash waits longer than `deadline` seconds.

    While others wait, no account, network or wide network may hold more than a quarter of the hashes that fit into the
    deadline. `hash_time` is the first estimate of the seconds that a hash takes.
    """

    def __init__(self, executor: ThreadPoolExecutor, threads: int, deadline: float, hash_time: float) -> None:
        self._executor = executor
        self._threads = threads
        self._deadline = deadline
        self._turns = Turns(threads)
        self._shares = Shares()
        self._longest_hash_time = deadline * threads
        self._hash_time = min(hash_time, self._longest_hash_time)
        self.counters: Counter[str] = Counter()
        self._refused = Tally()

    @contextlib.contextmanager
    def admission(self, network: str, account: str, hashes: int) -> Iterator[Admission]:
        """Reserve room for `hashes` consecutive hashes until the context ends. Raises OverloadedError at once."""
        admission = Admission(network, account, hashes)
        with self._pushing_out() as others:
            self._make_room(admission, others)
        self._shares.add(admission)
        try:
            yield admission
        finally:
            self._shares.remove(admission)

    def identify(self, admission: Admission, account: str) -> None:
        """Count the admission towards the account found for it. Raises OverloadedError if that exceeds its share."""
        self._check_still_in(admission)
        self._shares.remove(admission)
        admission.identify(account)
        with self._pushing_out() as others:
            excess = self._shares.account_in_excess(admission, self._share, alone=False)
            self._end_excess(admission, excess, 0.0, others)
        self._shares.add(admission)

    async def run(self, admission: Admission, work: Callable[[], R]) -> R:
        """Compute one of the admitted hashes. Raises OverloadedError or CallerGoneError if it is not started."""
        await self._take_thread(admission)
        self._shares.start(admission)
        try:
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._executor, _timed, work)
        finally:
            self._turns.give_back()
        self._learn(seconds)
        self.counters["passwords hashed"] += 1
        return result

    def close(self) -> None:
        """Log the counts that have not been logged yet."""
        self._refused.close()

    @contextlib.contextmanager
    def _pushing_out(self) -> Iterator[list[Admission]]:
        """Evict the admissions on this list at the end, or put them back if OverloadedError is raised.

        So a refused admission never evicts another one.
        """
        others: list[Admission] = []
        try:
            yield others
        except OverloadedError:
            for other in reversed(others):
                self._shares.add(other)
            raise
        for other in others:
            self._push_out(other)

    def _make_room(self, admission: Admission, others: list[Admission]) -> None:
        """Take out admissions of those who hold more if there is no room otherwise. Raises OverloadedError."""
        patience = min(self._deadline, callers.current().remaining())
        missing = self._missing(self._hashes_with(admission), patience)
        excess = self._shares.in_excess(admission, self._share, alone=missing > 0)
        self._end_excess(admission, excess, missing, others)
        if missing > 0 and (missing := self._missing(self._shares.turn(admission), patience)) > 0:
            self._refuse("no_room", missing)
        while (missing := self._missing(self._hashes_with(admission), self._deadline)) > 0:
            other = self._shares.one_to_push_out(admission)
            if other is None:
                self._refuse("no_room", missing)
            self._take_out(other, others)

    def _hashes_with(self, admission: Admission) -> int:
        """The number of hashes with the admission's; 1 if the queue is empty: then any change of password has room."""
        return self._shares.hashes + admission.hashes if self._shares.hashes else 1

    def _take_out(self, other: Admission, others: list[Admission]) -> None:
        self._shares.remove(other)
        others.append(other)

    def _missing(self, hashes: int, patience: float) -> float:
        """The seconds by which this many hashes would exceed `patience`; zero if they do not.

        Products are compared, because a quotient could round up numbers that fit exactly.
        """
        work = hashes * self._hash_time
        return work / self._threads - max(patience, 0.0) if work > patience * self._threads else 0.0

    @property
    def _share(self) -> int:
        return max(LEAST_SHARE, int(SHARE * self._deadline * self._threads / self._hash_time))

    def _end_excess(self, admission: Admission, excess: Excess | None, missing: float, others: list[Admission]) -> None:
        """Make room at the expense of a holder of too much, from its heaviest part. Raises OverloadedError."""
        if excess is None:
            return
        (holding, path), freed = excess, 0
        while freed < admission.hashes:
            other = holding.one_to_push_out(path, admission.hashes)
            if other is None:
                self._refuse("over_share", missing, OverShareError)
            self._take_out(other, others)
            freed += other.hashes

    def _push_out(self, other: Admission) -> None:
        other.pushed_out = True
        if other.turn is not None:
            self._turns.take_away(other.turn)
        self._count("pushed_out")

    def _check_still_in(self, admission: Admission) -> None:
        if admission.pushed_out:
            raise OverShareError(retry_after=1)

    async def _take_thread(self, admission: Admission) -> None:
        """Wait for a free thread. Check last, right before the hash is started, that the caller still waits."""
        self._check_still_in(admission)
        caller = callers.current()
        admission.turn = turn = Turn(admission.path)
        self._turns.ask(turn)
        try:
            async with caller.waiting(asyncio.get_running_loop().time() + self._deadline):
                has_thread = await self._turns.wait(turn)
        except TimeoutError:
            self._drop(caller, admission)
        if admission.pushed_out and has_thread:  # its turn had just come
            self._turns.give_back()
        self._check_still_in(admission)
        if caller.gone or caller.remaining() <= 0:
            self._turns.give_back()
            self._drop(caller, admission)

    def _drop(self, caller: callers.Caller, admission: Admission) -> NoReturn:
        if caller.gone:
            self._count("caller_gone")
            raise callers.CallerGoneError
        excess = self._shares.in_excess(admission, self._share, alone=True)
        self._refuse("too_late", 0.0, OverloadedError if excess is None else OverShareError)

    def _refuse(self, reason: str, seconds: float, error: type[OverloadedError] = OverloadedError) -> NoReturn:
        """Refuse the request. `seconds` is the time until there is room."""
        self._count(reason)
        raise error(retry_after=max(1, math.ceil(seconds)))

    def _count(self, reason: str) -> None:
        self.counters[f"passwords not hashed: {reason}"] += 1
        self._refused.count(reason)

    def _learn(self, seconds: float) -> None:
        """Update the estimate, but keep it low enough that an empty queue admits a hash: else none would ever enter."""
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
            # Outside the request's context: otherwise the line would have its id, although it counts others as well.
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
