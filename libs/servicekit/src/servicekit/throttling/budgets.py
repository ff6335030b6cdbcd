"""What is limited: how many attempts in how long, by account and by network."""

import enum
from dataclasses import dataclass, replace
from typing import Annotated

import limits
from pydantic import AfterValidator

# The networks that an account's owner comes from: so many are remembered for each account, for so long.
KNOWN_NETWORKS = 4
KNOWN_SECONDS = 90 * 86400
# An account's failures in a row are forgotten when it has been left alone for so long.
ROW_SECONDS = 30 * 86400
LONGEST_DELAY = 900
# Failures of all accounts together are counted by slices of time of this length.
SLICE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` in `seconds` from the first one on."""

    limit: int
    seconds: int

    def half(self) -> "Window":
        return replace(self, limit=(self.limit + 1) // 2)


def window(text: str) -> Window:
    """Read `5/15minute` or `5 per 15 minutes`. Raises ValueError."""
    try:
        item = limits.parse(text)
    except ValueError:
        raise ValueError("must be a number per a time, such as 5/15minute") from None
    if item.amount < 1:
        raise ValueError("must allow at least one")
    return Window(item.amount, item.get_expiry())


def _checked(text: str) -> str:
    window(text)
    return text


WindowText = Annotated[str, AfterValidator(_checked)]


@dataclass(frozen=True, slots=True)
class GuessBudgets:
    """The budgets of one kind of guess; a failure counts in each, a success clears the account's.

    `pair`: of one network at one account. `network`: of one network at all accounts. After `free` failures in a row
    at one account those who come from a network that is not known there have to wait, longer each time; `row` is the
    most in a row from such networks altogether, `known_row` the most from each known one until it counts as unknown.
    `alarm`: when so many fail in five to ten minutes, and more than succeed, `pair` and `network` are halved.
    """

    kind: str
    pair: Window
    network: Window
    free: int
    row: int
    known_row: int
    alarm: int

    def half(self) -> "GuessBudgets":
        """What a process allows that counts alone."""
        return replace(
            self,
            pair=self.pair.half(),
            network=self.network.half(),
            free=(self.free + 1) // 2,
            row=(self.row + 1) // 2,
            known_row=(self.known_row + 1) // 2,
        )


def guess_budgets(kind: str, *, pair: Window, network: Window, free: int, row: int, alarm: int = 2**53) -> GuessBudgets:
    """Budgets of which no more than `row` are failures in a row at one account, from wherever they come.

    Four tenths of them are for the networks that are known there, an equal part for each.
    """
    known_row = max(1, row * 4 // 10 // KNOWN_NETWORKS)
    strangers = max(1, row - KNOWN_NETWORKS * known_row)
    return GuessBudgets(kind, pair, network, min(free, strangers), strangers, known_row, alarm)


@dataclass(frozen=True, slots=True)
class Guess:
    """An attempt at `account` (a digest, or an id) from `network` (`192.0.2.1/32`, `2001:db8::/64`).

    Names that may be spellings of each other share an account's budgets, but they may be two people's as well:
    success at one `name` clears what was counted there, and the network becomes known there, at no other name.
    """

    account: str
    network: str
    name: str


class Verdict(enum.Enum):
    REFUSED = 0
    ADMITTED = 1
    PENDING = 2  # there would be room, were it known how those end that are under way


class Budget(enum.Enum):
    """Which one is used up; the values stand in logs and counters."""

    NONE = "none"
    PAIR = "account and network"
    ACCOUNT = "account"
    NETWORK = "network"


class Outcome(enum.Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # nobody found out: a failure of ours


@dataclass(frozen=True, slots=True)
class Decision:
    """`retry_after` in seconds; `known`: the network is known at the account; `alarm`: budgets were halved.

    `local`: this process decided, not Redis.
    """

    verdict: Verdict
    budget: Budget = Budget.NONE
    retry_after: float = 0.0
    known: bool = False
    alarm: bool = False
    local: bool = False
