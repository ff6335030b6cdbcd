"""Budgets: the number of attempts allowed in a period, by account and by network."""

import enum
import re
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator

# For each account, this many networks from which its owner logged in are remembered, for this long.
KNOWN_NETWORKS = 4
KNOWN_SECONDS = 90 * 86400
# An account's failures in a row are forgotten when no guess has been made for this long. A spray over many names would
# fill Redis for weeks, so fewer than `FEW` are forgotten sooner: four in two days make no more than sixty in thirty.
ROW_SECONDS = 30 * 86400
FEW = 5
FEW_SECONDS = 2 * 86400
# An IPv4 /24 or an IPv6 /48 has this many times the budget of one network in it.
WIDER = 4
LONGEST_DELAY = 900
# The failures of all accounts together are counted in slices of time of this length.
SLICE_SECONDS = 300

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "month": 30 * 86400, "year": 360 * 86400}
_WINDOW = re.compile(rf"\s*([0-9]+)\s*(?:/|per)\s*([0-9]+)?\s*({'|'.join(_UNITS)})s?\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` attempts within `seconds` of the first one."""

    limit: int
    seconds: int

    def half(self) -> "Window":
        return replace(self, limit=(self.limit + 1) // 2)

    def wider(self) -> "Window":
        """The window of the wide network around a network that has this window."""
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
    """The budgets of one kind of guess; a failure counts in each that applies to it, a success clears the account's.

    `pair` limits the failures of one network at one account, `network` those of one network at all accounts. After
    `free` failures in a row at one account, guesses from networks that are not known there have to wait, longer each
    time; `row` is the most failures in a row from all such networks, `known_row` the most from each known network
    before it counts as unknown. When `alarm` guesses fail in five to ten minutes, and more than there are accounts at
    which one succeeded, `pair` and `network` are halved. `attempts` limits all guesses of one network at one account,
    right ones included; None is no limit. A wide network has `WIDER` times the `pair`, `network` and `attempts` of a
    network. To a network that is known at the account, only its own `pair`, `known_row` and both `attempts` apply.
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
        """The budgets of a process that counts on its own."""
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
    """Budgets that allow at most `row` failures in a row at one account, from all networks together.

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
    PENDING = 2  # depends on the outcome of attempts in progress


class Budget(enum.Enum):
    """The budget that is used up; the values appear in logs and counters."""

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
    WITHDRAWN = "withdrawn"  # not judged, because of a failure of ours


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on a guess. `retry_after` is in seconds. `known` is true if the network is known at the account.

    `alarm` is true if budgets were halved, `local` if this process decided and not Redis.
    """

    ruling: Ruling
    budget: Budget = Budget.NONE
    retry_after: float = 0.0
    known: bool = False
    alarm: bool = False
    local: bool = False
