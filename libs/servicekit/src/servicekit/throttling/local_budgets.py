"""Budgets in this process alone: half of the shared ones, for as long as replicas cannot count together."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from servicekit.throttling.budgets import (
    FEW,
    FEW_SECONDS,
    KNOWN_NETWORKS,
    LONGEST_DELAY,
    ROW_SECONDS,
    Budget,
    Decision,
    Guess,
    GuessBudgets,
    Outcome,
    Ruling,
    Window,
)

ENTRIES = 50_000

V = TypeVar("V")


class _Recent(Generic[V]):
    """A bounded map that evicts the least recently used entry."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], V] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)

    def drop(self, key: tuple[str, ...]) -> None:
        self._entries.pop(key, None)


@dataclass(slots=True)
class _Count:
    """Attempts in a window, or failures, some of which may be attempts that are still in progress."""

    ends: float
    count: int = 0
    under_way: int = 0


@dataclass(slots=True)
class _Row:
    """Failures in a row at an account."""

    ends: float
    strangers: int = 0
    closed_until: float = 0.0


class _Counts:
    """Counts by key, each over its window."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: _Recent[_Count] = _Recent()

    def get(self, key: tuple[str, ...], window: Window) -> _Count:
        count, now = self._counts.get(key), self._clock()
        return count if count is not None and count.ends > now else _Count(now + window.seconds)

    def count(self, key: tuple[str, ...], window: Window, under_way: int = 0) -> None:
        count = self.get(key, window)
        count.count += 1
        count.under_way += under_way
        self._counts.put(key, count)

    def end(self, key: tuple[str, ...], window: Window) -> None:
        """Note that an attempt in progress has ended."""
        count = self.get(key, window)
        count.under_way = max(0, count.under_way - 1)

    def give_back(self, key: tuple[str, ...], window: Window) -> None:
        count = self.get(key, window)
        count.count = max(0, count.count - 1)

    def drop(self, key: tuple[str, ...]) -> None:
        self._counts.drop(key)


@dataclass(frozen=True, slots=True)
class _Limit:
    """A budget that applies to a guess, and the key under which it is counted."""

    budget: Budget
    key: tuple[str, ...]
    window: Window


class LocalBudgets:
    """Decides like Redis, but with half the budgets and only for the most recent accounts and networks.

    There is no alarm, and a network that is known at an account stays known despite failures (`known_row`).
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = _Counts(clock)
        self._attempts = _Counts(clock)
        self._charges = _Counts(clock)
        self._rows: _Recent[_Row] = _Recent()
        self._known: _Recent[tuple[str, ...]] = _Recent()

    def knows(self, budgets: GuessBudgets, guess: Guess) -> bool:
        """True if a guess from the network has succeeded at the account in this process."""
        return guess.network in (self._known.get(_account_key(budgets, guess)) or ())

    def remember(self, budgets: GuessBudgets, guess: Guess) -> None:
        key = _account_key(budgets, guess)
        others = [network for network in self._known.get(key) or () if network != guess.network]
        self._known.put(key, (guess.network, *others[: KNOWN_NETWORKS - 1]))

    def admit(self, shared: GuessBudgets, guess: Guess) -> Decision:
        """Count only admitted guesses: refusals cost an attacker nothing, and must not evict other counts."""
        budgets = shared.half()
        known = self.knows(budgets, guess)
        refusal = self._refusal(budgets, guess, known=known)
        if refusal is not None:
            return refusal
        for limit in _attempts(budgets, guess):
            self._attempts.count(limit.key, limit.window)
        for limit in _failures(budgets, guess, known=known):
            self._failures.count(limit.key, limit.window, under_way=1)
        if not known:
            self._count_stranger(budgets, guess)
        return Decision(Ruling.ADMITTED, known=known, local=True)

    def settle(self, shared: GuessBudgets, guess: Guess, outcome: Outcome, *, known: bool) -> None:
        budgets = shared.half()
        for limit in _failures(budgets, guess, known=known):
            self._failures.end(limit.key, limit.window)
            if outcome is not Outcome.FAILED:
                self._failures.give_back(limit.key, limit.window)
            if outcome is Outcome.SUCCEEDED and limit.budget in (Budget.PAIR, Budget.WIDE_PAIR):
                self._failures.drop(limit.key)
        if outcome is Outcome.SUCCEEDED:
            self._rows.drop(_account_key(budgets, guess))
        elif outcome is Outcome.WITHDRAWN:
            for limit in _attempts(budgets, guess):
                self._attempts.give_back(limit.key, limit.window)
            row = self._row(budgets, guess)
            row.strangers = max(0, row.strangers - int(not known))

    def charge(self, name: str, windows: Mapping[str, Window]) -> float:
        """Count one for each key, or for none if a window is full; returns the seconds until there is room."""
        halves = {(name, key): window.half() for key, window in windows.items()}
        for key, window in halves.items():
            count = self._charges.get(key, window)
            if count.count >= window.limit:
                return count.ends - self._clock()
        for key, window in halves.items():
            self._charges.count(key, window)
        return 0.0

    def _refusal(self, budgets: GuessBudgets, guess: Guess, *, known: bool) -> Decision | None:
        row, now = self._row(budgets, guess), self._clock()
        if not known and row.strangers >= budgets.row:
            return Decision(Ruling.REFUSED, Budget.ACCOUNT, LONGEST_DELAY, local=True)
        if not known and row.strangers >= budgets.free and now < row.closed_until:
            return Decision(Ruling.REFUSED, Budget.ACCOUNT, row.closed_until - now, local=True)
        pending = None
        for counts, limits in (
            (self._attempts, _attempts(budgets, guess)),
            (self._failures, _failures(budgets, guess, known=known)),
        ):
            for limit in limits:
                count = counts.get(limit.key, limit.window)
                if count.count - count.under_way >= limit.window.limit:
                    return Decision(Ruling.REFUSED, limit.budget, max(1.0, count.ends - now), local=True)
                if count.count >= limit.window.limit:
                    pending = pending or Decision(Ruling.PENDING, limit.budget, max(1.0, count.ends - now), local=True)
        return pending

    def _row(self, budgets: GuessBudgets, guess: Guess) -> _Row:
        row = self._rows.get(_account_key(budgets, guess))
        return row if row is not None and row.ends > self._clock() else _Row(self._clock())

    def _count_stranger(self, budgets: GuessBudgets, guess: Guess) -> None:
        row, now = self._row(budgets, guess), self._clock()
        row.strangers += 1
        row.ends = now + (FEW_SECONDS if row.strangers < FEW else ROW_SECONDS)
        if row.strangers >= budgets.free:
            row.closed_until = now + min(LONGEST_DELAY, 2 ** (row.strangers - budgets.free))
        self._rows.put(_account_key(budgets, guess), row)


def _account_key(budgets: GuessBudgets, guess: Guess) -> tuple[str, str]:
    return budgets.kind, guess.account


def _attempts(budgets: GuessBudgets, guess: Guess) -> Iterator[_Limit]:
    if budgets.attempts is not None:
        account = _account_key(budgets, guess)
        yield _Limit(Budget.ATTEMPTS, (*account, guess.network), budgets.attempts)
        yield _Limit(Budget.ATTEMPTS, (*account, "wide", guess.wide_network), budgets.attempts.wider())


def _failures(budgets: GuessBudgets, guess: Guess, *, known: bool) -> Iterator[_Limit]:
    """The limits on failures; for a network that is known at the account, only its own limit there."""
    account = _account_key(budgets, guess)
    yield _Limit(Budget.PAIR, (*account, guess.network), budgets.pair)
    if not known:
        yield _Limit(Budget.NETWORK, (budgets.kind, guess.network), budgets.network)
        yield _Limit(Budget.WIDE_PAIR, (*account, "wide", guess.wide_network), budgets.pair.wider())
        yield _Limit(Budget.WIDE_NETWORK, (budgets.kind, "wide", guess.wide_network), budgets.network.wider())
