"""Admits or refuses attempts: by the counts in Redis while it answers, else by those of this process."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import uniform
from typing import TypeVar

import structlog

from servicekit.throttling.budgets import Decision, Guess, GuessBudgets, Outcome, Ruling, Window
from servicekit.throttling.local_budgets import LocalBudgets
from servicekit.throttling.networks import Networks, network_of, wide_network_of
from servicekit.throttling.redis_budgets import BudgetsAwayError, RedisBudgets, open_redis

AT_ONCE = 16  # concurrent calls to Redis; more would wait in Redis as long as here
PAUSE = 1.0  # seconds after a failure of Redis before one call checks whether it is back
PATIENCE = 2.0  # seconds to wait for attempts in progress, whose outcomes decide whether there is room
MOST_PATIENT = 64  # attempts that may wait like this; more would take the places of other requests
ALARM_EVERY = 60.0

log = structlog.get_logger()
T = TypeVar("T")


class ThrottledError(Exception):
    """No attempt may be made now; `retry_after` is in whole seconds."""

    def __init__(self, budget: str, retry_after: float) -> None:
        super().__init__(budget)
        self.budget = budget
        self.retry_after = max(1, math.ceil(retry_after))


class Admission:
    """An attempt that may be made. It counts as a failure in progress until its outcome is reported."""

    async def succeeded(self) -> None:
        """The attempt was right, which clears the account's budgets and makes the network known there."""

    async def failed(self) -> None:
        """The attempt was wrong."""

    async def withdrawn(self) -> None:
        """The attempt was not judged, so it does not count."""


# A guess at one account, and the decision on it.
_Decided = tuple[Guess, Decision]


class _Counted(Admission):
    def __init__(self, limiter: "RateLimiter", budgets: GuessBudgets, decided: Sequence[_Decided]) -> None:
        self._limiter = limiter
        self._budgets = budgets
        self._decided = decided

    async def succeeded(self) -> None:
        """At the other accounts the guess is withdrawn: the owner of one account must not clear another's budgets."""
        await self._settle(Outcome.SUCCEEDED, Outcome.WITHDRAWN)

    async def failed(self) -> None:
        await self._settle(Outcome.FAILED, Outcome.FAILED)

    async def withdrawn(self) -> None:
        await self._settle(Outcome.WITHDRAWN, Outcome.WITHDRAWN)

    async def _settle(self, outcome: Outcome, at_others: Outcome) -> None:
        self._limiter.counters[f"{self._budgets.kind} {outcome.value}"] += 1
        await self._limiter.settle(self._budgets, self._decided[:1], outcome)
        await self._limiter.settle(self._budgets, self._decided[1:], at_others)


class RateLimiter:
    """All budgets of a service. If `shared` is None, this process counts alone. `exempt` networks are not counted."""

    def __init__(self, shared: RedisBudgets | None, exempt: Networks) -> None:
        self.counters: Counter[str] = Counter()
        self._shared = shared
        self._local = LocalBudgets(time.monotonic)
        self._exempt = exempt
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._patient = 0
        self._away = False
        self._ask_again = 0.0
        self._next_alarm = 0.0

    async def admit(
        self, budgets: GuessBudgets, account: str, address: str, *, also_at: Sequence[str] = (), **who: str
    ) -> Admission:
        """Admit a guess, or raise ThrottledError. `who` goes into the log, so it must hold nothing secret.

        A guess at `account` also counts at the accounts `also_at`, and is refused if it is refused at any of them, so
        that nobody learns which account it was compared with. From a network that is known at `account`, a guess counts
        only there: its user has learned that by logging in, and failures at the other accounts lock nobody out.
        """
        if address in self._exempt:
            return Admission()
        decided = [await self._decide(budgets, account, address)]
        if not decided[0][1].known:
            decided += [await self._decide(budgets, other, address) for other in also_at]
        if any(decision.alarm for _, decision in decided):
            self._sound_alarm(budgets)
        admitted = [(guess, decision) for guess, decision in decided if decision.ruling is Ruling.ADMITTED]
        if len(admitted) < len(decided):
            await self.settle(budgets, admitted, Outcome.WITHDRAWN)
            refusals = (one for one in decided if one not in admitted)
            guess, decision = max(refusals, key=lambda refusal: refusal[1].retry_after)
            budget, wait = decision.budget.value, decision.retry_after
            raise self._refused(budgets.kind, budget, wait, address, account=guess.account, **who)
        self.counters[f"{budgets.kind} admitted"] += 1
        return _Counted(self, budgets, decided)

    async def charge(self, name: str, key: str, window: Window, address: str, **who: str) -> None:
        """Count one attempt of the kind `name` for `key`. Raises ThrottledError if that is too many."""
        await self._charge(name, {key: window}, address, **who)

    async def charge_network(self, name: str, window: Window, address: str, **who: str) -> None:
        """Count one of the kind `name` for the network of `address` and for its wide network. Raises ThrottledError."""
        windows = {network_of(address): window, f"wide {wide_network_of(address)}": window.wider()}
        await self._charge(name, windows, address, **who)

    async def _charge(self, name: str, windows: Mapping[str, Window], address: str, **who: str) -> None:
        if address in self._exempt:
            return
        wait = await self._from_redis(lambda shared: shared.charge(name, windows))
        if wait is None:
            wait = self._local.charge(name, windows)
        if wait:
            raise self._refused(name, name, wait, address, **who)

    async def settle(self, budgets: GuessBudgets, decided: Iterable[_Decided], outcome: Outcome) -> None:
        """Record the outcome of admitted guesses, each where it was decided: in Redis or in this process."""
        for guess, decision in decided:
            await self._settle(budgets, guess, decision, outcome)

    async def _settle(self, budgets: GuessBudgets, guess: Guess, decision: Decision, outcome: Outcome) -> None:
        if outcome is Outcome.SUCCEEDED:
            self._local.remember(budgets, guess)
        if decision.local:
            self._local.settle(budgets, guess, outcome, known=decision.known)
        else:
            await self._from_redis(lambda shared: shared.settle(budgets, guess, outcome, known=decision.known))

    async def _decide(self, budgets: GuessBudgets, account: str, address: str) -> _Decided:
        """Wait for attempts in progress that may make room, then decide: many right ones at once are all admitted."""
        guess = Guess(account, network_of(address), wide_network_of(address))
        give_up = time.monotonic() + PATIENCE
        while True:
            decision = await self._ask(budgets, guess)
            if decision.ruling is not Ruling.PENDING:
                return guess, decision
            if self._patient >= MOST_PATIENT or time.monotonic() > give_up:
                return guess, replace(decision, retry_after=PATIENCE)
            self._patient += 1
            try:
                await asyncio.sleep(uniform(0.02, 0.08))  # noqa: S311
            finally:
                self._patient -= 1

    async def _ask(self, budgets: GuessBudgets, guess: Guess) -> Decision:
        known = self._local.knows(budgets, guess)
        decision = await self._from_redis(lambda shared: shared.admit(budgets, guess, known=known))
        if decision is None:
            self.counters["decided in this process"] += 1
            decision = self._local.admit(budgets, guess)
        return decision

    async def _from_redis(self, ask: Callable[[RedisBudgets], Awaitable[T]]) -> T | None:
        """The answer of Redis, or None while it is away; then one call a second retries, and no other waits for it."""
        if self._shared is None:
            return None
        async with self._slots:
            if self._away and time.monotonic() < self._ask_again:
                return None
            self._ask_again = time.monotonic() + PAUSE
            try:
                answer = await ask(self._shared)
            except BudgetsAwayError as error:
                self._note_away(error)
                return None
            if self._away:
                self._away = False
                log.info("redis back")
            return answer

    def _note_away(self, error: BudgetsAwayError) -> None:
        self.counters["redis failures"] += 1
        self._ask_again = time.monotonic() + PAUSE
        if not self._away:
            self._away = True
            log.warning("redis away", cause=str(error), consequence="half of each budget, counted in this process")

    def _sound_alarm(self, budgets: GuessBudgets) -> None:
        now = time.monotonic()
        if now >= self._next_alarm:
            self._next_alarm = now + ALARM_EVERY
            self.counters[f"{budgets.kind} alarms"] += 1
            log.error("more failures than successes", kind=budgets.kind, consequence="half of each network's budget")

    def _refused(self, kind: str, budget: str, wait: float, address: str, **who: str) -> ThrottledError:
        error = ThrottledError(budget, wait)
        self.counters[f"{kind} throttled"] += 1
        log.warning(
            "attempt throttled", kind=kind, budget=budget, address=address, retry_after=error.retry_after, **who
        )
        return error


@contextlib.asynccontextmanager
async def open_rate_limiter(
    redis_url: str | None, exempt: Networks, clock: Callable[[], float]
) -> AsyncIterator[RateLimiter]:
    """The budgets of a service with this `REDIS_URL`. `clock` (epoch seconds) is one that its replicas share."""
    if redis_url is None:
        log.warning("no REDIS_URL", consequence="half of each budget, counted in this process")
        yield RateLimiter(None, exempt)
        return
    async with open_redis(redis_url) as redis:
        yield RateLimiter(RedisBudgets(redis, clock), exempt)
