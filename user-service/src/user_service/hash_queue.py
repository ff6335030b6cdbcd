"""The queue for hashing threads: nobody enters who would wait too long, and no work is done that nobody waits for."""

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

# How much the newest hash counts in the running estimate: a change of speed shows after some ten hashes.
WEIGHT = 0.1
LOG_INTERVAL = 1.0
# Of the hashes that fit into the deadline; a change of password takes two.
SHARE = 0.25
LEAST_SHARE = 2

R = TypeVar("R")

log = structlog.get_logger()


class OverShareError(OverloadedError):
    """Refused so that others have room.

    It does not say that there is no room at all: a service that sends requests of many callers need not send fewer.
    """

    headers: Mapping[str, str] = {}


class HashQueue:
    """Hashes on `threads` threads, each wide network in turn, and in it each network and account.

    None waits longer than `deadline` seconds.

    While others wait, no network (nor the wide network around it) and no account is let in for more than a quarter of
    the hashes that fit into the deadline. `hash_time` is the first estimate of the seconds that a hash takes.
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
        """Room for so many hashes one after the other, held until the context ends. Raises OverloadedError at once."""
        admission = Admission(network, account, hashes)
        with self._pushing_out() as others:
            self._make_room(admission, others)
        self._shares.add(admission)
        try:
            yield admission
        finally:
            self._shares.remove(admission)

    def identify(self, admission: Admission, account: str) -> None:
        """Count the admission towards the account it turned out to be for. Raises OverloadedError beyond its share."""
        self._check_still_in(admission)
        self._shares.remove(admission)
        admission.identify(account)
        with self._pushing_out() as others:
            excess = self._shares.account_in_excess(admission, self._share, alone=False)
            self._end_excess(admission, excess, 0.0, others)
        self._shares.add(admission)

    async def run(self, admission: Admission, work: Callable[[], R]) -> R:
        """Do one of the hashes admitted. Raises OverloadedError or CallerGoneError where it is not started."""
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
        """Log what has been counted and not been logged."""
        self._refused.close()

    @contextlib.contextmanager
    def _pushing_out(self) -> Iterator[list[Admission]]:
        """Those on this list are pushed out, or put back in where there is an OverloadedError.

        So nobody who is refused has pushed anybody out.
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
        """Take out who holds more, where there is no room otherwise. Raises OverloadedError."""
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
        """The number of hashes there would be. An empty queue has room for any change of password."""
        return self._shares.hashes + admission.hashes if self._shares.hashes else 1

    def _take_out(self, other: Admission, others: list[Admission]) -> None:
        self._shares.remove(other)
        others.append(other)

    def _missing(self, hashes: int, patience: float) -> float:
        """The seconds by which so many hashes would take too long; not above zero where they do not.

        Compared as a product, for the quotient may round up what fits exactly.
        """
        work = hashes * self._hash_time
        return work / self._threads - max(patience, 0.0) if work > patience * self._threads else 0.0

    @property
    def _share(self) -> int:
        return max(LEAST_SHARE, int(SHARE * self._deadline * self._threads / self._hash_time))

    def _end_excess(self, admission: Admission, excess: Excess | None, missing: float, others: list[Admission]) -> None:
        """A holder of too much makes room itself: its heaviest part gives way. Raises OverloadedError."""
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
        """Wait for a free thread. Whether the caller still waits is asked last, right before its hash is started."""
        self._check_still_in(admission)
        caller = callers.current()
        admission.turn = turn = Turn(admission.path)
        self._turns.ask(turn)
        try:
            async with caller.waiting(asyncio.get_running_loop().time() + self._deadline):
                has_thread = await self._turns.wait(turn)
        except TimeoutError:
            self._drop(caller, admission)
        if admission.pushed_out and has_thread:  # its turn came just before
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
        """`seconds`: until there is room."""
        self._count(reason)
        raise error(retry_after=max(1, math.ceil(seconds)))

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
