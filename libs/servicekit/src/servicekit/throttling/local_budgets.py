"""Budgets in this process alone: half of what replicas share, for as long as they cannot count together."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from servicekit.throttling.budgets import (
    KNOWN_NETWORKS,
    LONGEST_DELAY,
    ROW_SECONDS,
    Budget,
    Decision,
    Guess,
    GuessBudgets,
    Outcome,
    Verdict,
    Window,
)

ENTRIES = 50_000

V = TypeVar("V")


class _Recent(Generic[V]):
    """A bounded map: what was not used for longest goes first."""

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
    """Failures in a window, those still under way included; of a pair also `at` which name."""

    ends: float
    count: int = 0
    under_way: int = 0
    at: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Row:
    """Failures in a row at an account, and `at` which name."""

    ends: float
    strangers: int = 0
    closed_until: float = 0.0
    at: Counter[str] = field(default_factory=Counter)


class LocalBudgets:
    """Decides as Redis does, with half the numbers, over the accounts and networks seen last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: _Recent[_Count] = _Recent()
        self._charges: _Recent[_Count] = _Recent()
        self._rows: _Recent[_Row] = _Recent()
        self._known: _Recent[tuple[str, ...]] = _Recent()

    def knows(self, budgets: GuessBudgets, guess: Guess) -> bool:
        """Whether the network has been successful at the account in this process."""
        return guess.network in (self._known.get((budgets.kind, guess.name)) or ())

    def remember(self, budgets: GuessBudgets, guess: Guess) -> None:
        key = (budgets.kind, guess.name)
        others = [network for network in self._known.get(key) or () if network != guess.network]
        self._known.put(key, (guess.network, *others[: KNOWN_NETWORKS - 1]))

    def admit(self, shared: GuessBudgets, guess: Guess) -> Decision:
        budgets, now = shared.half(), self._clock()
        known = self.knows(budgets, guess)
        pair, network, row = self._looked_up(budgets, guess, now)
        if not known:
            if row.strangers >= budgets.row:
                return Decision(Verdict.REFUSED, Budget.ACCOUNT, LONGEST_DELAY, local=True)
            if row.strangers >= budgets.free and now < row.closed_until:
                return Decision(Verdict.REFUSED, Budget.ACCOUNT, row.closed_until - now, local=True)
            if network.count >= budgets.network.limit:
                return _full(network, budgets.network, Budget.NETWORK, now)
        if pair.count >= budgets.pair.limit:
            return _full(pair, budgets.pair, Budget.PAIR, now)
        for count in (pair,) if known else (pair, network):
            count.count += 1
            count.under_way += 1
        self._keep(budgets, guess, pair, network, row)
        pair.at[guess.name] += 1
        if not known:
            row.strangers += 1
            row.at[guess.name] += 1
            if row.strangers >= budgets.free:
                row.closed_until = now + min(LONGEST_DELAY, 2 ** (row.strangers - budgets.free))
        return Decision(Verdict.ADMITTED, known=known, local=True)

    def settle(self, budgets: GuessBudgets, guess: Guess, outcome: Outcome, *, known: bool) -> None:
        pair, network, row = self._looked_up(budgets, guess, self._clock())
        for count in (pair,) if known else (pair, network):
            count.under_way = max(0, count.under_way - 1)
        if outcome is not Outcome.FAILED and not known:
            network.count = max(0, network.count - 1)
        if outcome is Outcome.WITHDRAWN:
            pair.count -= _taken(pair.at, guess.name, 1)
            row.strangers -= _taken(row.at, guess.name, int(not known))
        if outcome is Outcome.SUCCEEDED:
            pair.count -= _taken(pair.at, guess.name, pair.count)
            row.strangers -= _taken(row.at, guess.name, row.strangers)
            if not pair.count:
                self._counts.drop((budgets.kind, guess.account, guess.network))
            if not row.strangers:
                self._rows.drop((budgets.kind, guess.account))

    def charge(self, name: str, key: str, shared: Window) -> float:
        """Count one; returns the seconds until there is room again, 0 where there was."""
        window, now = shared.half(), self._clock()
        count = self._count(self._charges, (name, key), window, now)
        count.count += 1
        self._charges.put((name, key), count)
        return 0.0 if count.count <= window.limit else count.ends - now

    def _looked_up(self, budgets: GuessBudgets, guess: Guess, now: float) -> tuple[_Count, _Count, _Row]:
        account = (budgets.kind, guess.account)
        row = self._rows.get(account)
        if row is None or row.ends <= now:
            row = _Row(now + ROW_SECONDS)
        return (
            self._count(self._counts, (*account, guess.network), budgets.pair, now),
            self._count(self._counts, (budgets.kind, guess.network), budgets.network, now),
            row,
        )

    def _keep(self, budgets: GuessBudgets, guess: Guess, pair: _Count, network: _Count, row: _Row) -> None:
        """For what was admitted only: refusals cost an attacker nothing, and must not push out what is counted."""
        self._counts.put((budgets.kind, guess.account, guess.network), pair)
        self._counts.put((budgets.kind, guess.network), network)
        self._rows.put((budgets.kind, guess.account), row)

    @staticmethod
    def _count(counts: _Recent[_Count], key: tuple[str, ...], window: Window, now: float) -> _Count:
        count = counts.get(key)
        return count if count is not None and count.ends > now else _Count(now + window.seconds)


def _taken(at: Counter[str], name: str, most: int) -> int:
    """Take so many from what was counted at `name`; returns how many there were to take."""
    number = min(most, at[name])
    at[name] -= number
    if not at[name]:
        del at[name]
    return number


def _full(count: _Count, window: Window, budget: Budget, now: float) -> Decision:
    pending = count.count - count.under_way < window.limit
    verdict = Verdict.PENDING if pending else Verdict.REFUSED
    return Decision(verdict, budget, max(1.0, count.ends - now), local=True)
