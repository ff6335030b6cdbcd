"""What is limited: how many attempts in how long, by account and by network."""

import enum
import re
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator

# The networks that an account's owner comes from: so many are remembered for each account, for so long.
KNOWN_NETWORKS = 4
KNOWN_SECONDS = 90 * 86400
# An account's failures in a row are forgotten when it has been left alone for so long. A spray over many names would
# fill Redis for weeks, so fewer than `FEW` are forgotten sooner: four in two days make no more than sixty in thirty.
ROW_SECONDS = 30 * 86400
FEW = 5
FEW_SECONDS = 2 * 86400
# An IPv4 /24 or an IPv6 /48 may do so many times what one network in it may.
WIDER = 4
LONGEST_DELAY = 900
# Failures of all accounts together are counted by slices of time of this length.
SLICE_SECONDS = 300

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "month": 30 * 86400, "year": 360 * 86400}
_WINDOW = re.compile(rf"\s*([0-9]+)\s*(?:/|per)\s*([0-9]+)?\s*({'|'.join(_UNITS)})s?\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` in `seconds` from the first one on."""

    limit: int
    seconds: int

    def half(self) -> "Window":
        return replace(self, limit=(self.limit + 1) // 2)

    def wider(self) -> "Window":
        """The window of the wide network around one that has this window."""
        return replace(self, limit=WIDER * self.limit)


def window(text: str) -> Window:
    """Read `5/15minute` or `5 per 15 minutes`, with a unit from second to year. Raises ValueError."""
    match = _WINDOW.fullmatch(text)
    if match is None or int(match[2] or 1) < 1:
        raise ValueError("must be a number per a time, such as 5/15minute")
    if int(match[1]) < 1:
        raise ValueError("must allow at least one")
    return Window(int(match[1]), int(match[2] or 1) * _UNITS[match[3].lower()])


def _checked(text: str) -> str:
    window(text)
    return text


WindowText = Annotated[str, AfterValidator(_checked)]


@dataclass(frozen=True, slots=True)
class GuessBudgets:
    """The budgets of one kind of guess; a failure counts in each that holds for it, a success clears the account's.

    `pair`: of one network at one account. `network`: of one network at all accounts. After `free` failures in a row
    at one account those who come from a network that is not known there have to wait, longer each time; `row` is the
    most in a row from such networks altogether, `known_row` the most from each known one until it counts as unknown.
    `alarm`: when so many fail in five to ten minutes, and more than there are accounts at which somebody succeeded,
    `pair` and `network` are halved. `attempts`: of one network at one account, right ones included; None: no limit.
    The wide network has `WIDER` times the `pair`, `network` and `attempts` of a network. For a network that is known at
    the account only its own `pair`, `known_row` and both `attempts` hold.
    """

    kind: str
    pair: Window
    network: Window
    free: int
    row: int
    known_row: int
    alarm: int
    attempts: Window | None

    def half(self) -> "GuessBudgets":
        """What a process allows that counts alone."""
        return replace(
            self,
            pair=self.pair.half(),
            network=self.network.half(),
            free=(self.free + 1) // 2,
            row=(self.row + 1) // 2,
            known_row=(self.known_row + 1) // 2,
            attempts=self.attempts and self.attempts.half(),
        )


def guess_budgets(
    kind: str,
    *,
    pair: Window,
    network: Window,
    free: int,
    row: int,
    alarm: int = 2**53,
    attempts: Window | None = None,
) -> GuessBudgets:
    """Budgets of which no more than `row` are failures in a row at one account, from wherever they come.

    Four tenths of them are for the networks that are known there, an equal part for each.
    """
    known_row = max(1, row * 4 // 10 // KNOWN_NETWORKS)
    strangers = max(1, row - KNOWN_NETWORKS * known_row)
    return GuessBudgets(kind, pair, network, min(free, strangers), strangers, known_row, alarm, attempts)


@dataclass(frozen=True, slots=True)
class Guess:
    """An attempt at `account` (a digest, or an id) from `network` (`192.0.2.1/32`, `2001:db8::/64`).

    `wide_network` is the one around it (`192.0.2.0/24`, `2001:db8::/48`).
    """

    account: str
    network: str
    wide_network: str


class Ruling(enum.Enum):
    REFUSED = 0
    ADMITTED = 1
    PENDING = 2  # there would be room, were it known how those end that are under way


class Budget(enum.Enum):
    """Which one is used up; the values stand in logs and counters."""

    NONE = "none"
    ATTEMPTS = "attempts"
    PAIR = "account and network"
    WIDE_PAIR = "account and wide network"
    ACCOUNT = "account"
    NETWORK = "network"
    WIDE_NETWORK = "wide network"


class Outcome(enum.Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # nobody found out: a failure of ours


@dataclass(frozen=True, slots=True)
class Decision:
    """`retry_after` in seconds; `known`: the network counts as known at the account; `alarm`: budgets were halved.

    `local`: this process decided, not Redis.
    """

    ruling: Ruling
    budget: Budget = Budget.NONE
    retry_after: float = 0.0
    known: bool = False
    alarm: bool = False
    local: bool = False
