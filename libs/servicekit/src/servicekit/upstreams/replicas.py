"""The replicas of an upstream: the choice of one for each request, and the ejection and return of faulty ones.

A replica gets no requests if it is ejected, because it failed several times in a row, or if it hangs, as found by a
probe. At most half are ejected. Replicas that hang are left out for as long as there is one that does not.
"""

import enum
from collections.abc import Collection
from random import random
from typing import Generic, Protocol, TypeVar

import structlog

from servicekit.upstreams.resolver import Address

FAILURES = 5  # in a row
EJECTION = 10.0  # seconds, times the number of ejections in a row
LONGEST_EJECTION = 300.0  # also the time in service after which earlier ejections are forgotten
RAMP = 10.0
# A replica that answers so has failed, whatever was asked; 503 may be an honest answer of a healthy one.
_FAILED = frozenset((500, 502, 504))

log = structlog.get_logger()


class State(enum.Enum):
    """The state of a replica. The numbers have no meaning."""

    SERVING = 1
    EJECTED = 2
    ON_TRIAL = 3  # back from an ejection: one request at a time until the first success
    RAMPING = 4  # its share grows to that of the others
    GONE = 5  # no longer an address of the name


SERVING, EJECTED, ON_TRIAL, RAMPING, GONE = State


class Connection(Protocol):
    """A connection, as its replica knows it."""

    @property
    def owes_answer(self) -> bool:
        """True if the replica is to answer: its silence counts against it."""

    def stall(self) -> None:
        """Close the connection: the replica hangs, and the answer will not come."""


C = TypeVar("C", bound=Connection)


class Replica(Generic[C]):
    """One address of an upstream, and its connections."""

    __slots__ = (
        "_replicas",
        "address",
        "connecting",
        "connections",
        "ejections",
        "failures",
        "hanging",
        "heard",
        "idle",
        "in_flight",
        "probe_after",
        "silent_for",
        "since",
        "state",
        "until",
    )

    def __init__(self, address: Address, replicas: "Replicas[C]") -> None:
        self.address = address
        self.connections: set[C] = set()
        self.idle: list[C] = []  # the most recently used one is last
        self.in_flight = 0
        self.connecting = 0
        self.heard = False  # a byte has come since the last look
        self.silent_for = 0.0  # seconds for which an answer was due
        self.probe_after = 0.0  # it is not asked before then whether it lives
        self.state = SERVING
        self.since = 0.0  # when it came back
        self.until = 0.0  # when its ejection ends
        self.failures = 0
        self.ejections = 0
        self.hanging = False  # the last probe found no sign of life
        self._replicas = replicas

    def answered(self, status: int) -> None:
        """An answer with this status has begun."""
        if status in _FAILED:
            self.failed()
        else:
            self.succeeded()

    def succeeded(self) -> None:
        """It gave an answer that is not a failure of its own."""
        self.failures = 0
        if self.state is ON_TRIAL:
            self._replicas.take_back(self)

    def failed(self) -> None:
        """It refused, broke off or was late before its answer began, or answered 500, 502 or 504."""
        self.failures += 1
        if self.failures >= FAILURES or self.state is ON_TRIAL:
            self._replicas.eject(self)

    @property
    def load(self) -> int:
        return self.in_flight + self.connecting

    @property
    def absent(self) -> bool:
        """True if it counts among those left out: one on trial has not come back yet."""
        return self.hanging or self.state in (EJECTED, ON_TRIAL)

    @property
    def open(self) -> bool:
        """True if a request may be sent to it."""
        if self.state in (EJECTED, GONE) or self._replicas.leaves_out(self):
            return False
        return not (self.state is ON_TRIAL and self.load)

    def note_silence(self, elapsed: float) -> None:
        """Count the time since the last look as silence if an answer was due and not a byte has come."""
        silent = not self.heard and self.in_flight and any(each.owes_answer for each in self.connections)
        self.silent_for = self.silent_for + elapsed if silent else 0.0
        self.heard = False

    def give_up_requests(self) -> None:
        """End every connection on which it owes an answer."""
        for connection in list(self.connections):
            if connection.owes_answer:
                connection.stall()


class Replicas(Generic[C]):
    """The replicas of the upstream `name`. `now` is the time of the last look."""

    def __init__(self, name: str) -> None:
        self.all: list[Replica[C]] = []
        self.leaving: list[Replica[C]] = []  # gone, with connections that still end
        self.serving: list[Replica[C]] = []  # those that requests are sent to
        self._all_hang = False
        self.now = 0.0
        self._name = name

    def update(self, addresses: list[Address]) -> None:
        """These are the addresses now. A known one stays the replica that it is."""
        known = {replica.address: replica for replica in (*self.leaving, *self.all)}
        self.all = [known.pop(address) if address in known else Replica(address, self) for address in addresses]
        self.leaving = list(known.values())
        for replica in self.leaving:
            replica.state = GONE
        for replica in self.all:
            if replica.state is GONE:
                replica.state = SERVING
        ejected = [replica for replica in self.all if replica.absent and not replica.hanging]
        for replica in sorted(ejected, key=lambda replica: replica.until):
            if 2 * self._absent() > len(self.all):
                self.take_back(replica)
        self._sort()

    def choose(self) -> Replica[C] | None:
        """The less busy of two random ones; None only when there is none at all."""
        serving = self.serving
        if len(serving) > 1:
            return self._lesser(serving)
        return serving[0] if serving else None

    def choose_except(self, tried: Collection[Replica[C]], avoid: Replica[C] | None) -> Replica[C] | None:
        """One that was not tried, `avoid` only when no other is left, and before giving up one that was ejected.

        One that hangs is left out even then: it would take the connection, and never answer.
        """
        untried = [replica for replica in self.all if replica not in tried and not self.leaves_out(replica)]
        choices = [replica for replica in untried if replica.open]
        preferred = [replica for replica in choices if replica is not avoid]
        left = preferred or choices or untried
        return self._lesser(left) if left else None

    def _lesser(self, among: list[Replica[C]]) -> Replica[C]:
        size = len(among)
        if size == 1:
            return among[0]
        first = int(random() * size)  # noqa: S311
        second = int(random() * (size - 1))  # noqa: S311
        one, other = among[first], among[second + (second >= first)]
        if one.in_flight + one.connecting > other.in_flight + other.connecting:
            one, other = other, one
        if one.state is SERVING or self._admits(one):
            return one
        if other.state is SERVING or self._admits(other):
            return other
        back = (replica for replica in among if replica.state is not ON_TRIAL)
        return min(back, key=lambda replica: replica.load, default=one)

    def _admits(self, replica: Replica[C]) -> bool:
        if replica.state is RAMPING:
            return random() * RAMP < self.now - replica.since  # noqa: S311
        return replica.open

    def eject(self, replica: Replica[C]) -> None:
        """Leave it out for a while, unless more than half would be."""
        if replica.state in (EJECTED, GONE):
            return
        if replica.state is not ON_TRIAL and 2 * (self._absent() + (not replica.hanging)) > len(self.all):
            return
        replica.ejections += 1
        seconds = min(EJECTION * replica.ejections, LONGEST_EJECTION)
        replica.state = EJECTED
        replica.until = self.now + seconds
        self._sort()
        log.warning("replica ejected", **self._names(replica), seconds=seconds)

    def hangs(self, replica: Replica[C]) -> None:
        """A probe found no sign of life: leave it out at once if there is another one that does not hang."""
        if not replica.hanging:
            replica.hanging = True
            log.warning("replica hangs", **self._names(replica))
            self._sort()

    def lives(self, replica: Replica[C]) -> None:
        """A probe found that it lives: it is needed again if it hung, also where it was ejected in the meantime."""
        if replica.hanging:
            replica.hanging = False
            if replica.state is not GONE:
                self.take_back(replica)

    def leaves_out(self, replica: Replica[C]) -> bool:
        """True if it hangs and there is another one that does not."""
        return replica.hanging and not self._all_hang

    def take_back(self, replica: Replica[C]) -> None:
        """It has proved itself, or is needed: its share begins to grow."""
        replica.state = RAMPING
        replica.since = self.now
        replica.failures = 0
        self._sort()
        log.info("replica returned", **self._names(replica))

    def look(self, now: float) -> None:
        """Take each a step further whose time has come."""
        self.now = now
        for replica in self.all:
            if replica.state is EJECTED and replica.until <= now:
                replica.state = ON_TRIAL
                self._sort()
            elif replica.state is RAMPING and now - replica.since >= RAMP:
                replica.state = SERVING
            elif replica.state is SERVING and now - replica.since >= LONGEST_EJECTION:
                replica.ejections = 0
        self.leaving = [replica for replica in self.leaving if replica.connections or replica.connecting]

    def status(self) -> list[dict[str, object]]:
        """The state of each replica, as the page for operations shows it."""
        return [
            {
                "address": format_address(replica.address),
                "in_flight": replica.in_flight,
                "idle": len(replica.idle),
                "ejected": replica not in self.serving,
                "hanging": replica.hanging,
            }
            for replica in self.all
        ]

    def _absent(self) -> int:
        return sum(replica.absent for replica in self.all)

    def _sort(self) -> None:
        answering = [replica for replica in self.all if not replica.hanging]
        self._all_hang = not answering
        if all(replica.absent for replica in answering):
            for replica in answering:
                self.take_back(replica)
        self.serving = [replica for replica in answering if replica.state is not EJECTED] or self.all

    def _names(self, replica: Replica[C]) -> dict[str, str]:
        return {"upstream": self._name, "address": format_address(replica.address)}


def format_address(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
