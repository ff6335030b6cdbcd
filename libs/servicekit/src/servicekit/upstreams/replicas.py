"""The replicas of an upstream: which one gets a request, which is left out for a while, and how it comes back."""

import enum
from collections.abc import Collection
from random import random

import structlog

from servicekit.upstreams.connection import STALLED, UpstreamConnection
from servicekit.upstreams.resolver import Address

FAILURES = 5  # in a row
EJECTION = 10.0  # seconds, times the number of ejections in a row
LONGEST_EJECTION = 300.0  # also the time in service after which earlier ejections are forgotten
RAMP = 10.0
# A replica that answers so has failed, whatever was asked; 503 may be an honest answer of a healthy one.
_FAILED = frozenset((500, 502, 504))

log = structlog.get_logger()


class State(enum.Enum):
    """A replica's standing. The numbers are for nothing but telling them apart."""

    SERVING = 1
    EJECTED = 2
    ON_TRIAL = 3  # back from an ejection: one request at a time until the first success
    RAMPING = 4  # its share grows to that of the others
    GONE = 5  # no longer an address of the name


SERVING, EJECTED, ON_TRIAL, RAMPING, GONE = State


class Replica:
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
        "silent_for",
        "since",
        "state",
        "until",
    )

    def __init__(self, address: Address, replicas: "Replicas") -> None:
        self.address = address
        self.connections: set[UpstreamConnection] = set()
        self.idle: list[UpstreamConnection] = []  # the last one used stands at the end
        self.in_flight = 0
        self.connecting = 0
        self.heard = False  # a byte has come since the last look
        self.silent_for = 0.0
        self.state = SERVING
        self.since = 0.0  # when it came back
        self.until = 0.0  # when its ejection ends
        self.failures = 0
        self.ejections = 0
        self.hanging = False
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
            self._replicas.eject(self, "failures")

    @property
    def load(self) -> int:
        return self.in_flight + self.connecting

    @property
    def absent(self) -> bool:
        """Whether it counts among those left out: one on trial has not come back yet."""
        return self.state in (EJECTED, ON_TRIAL)

    @property
    def open(self) -> bool:
        """Whether a request may be sent to it."""
        return self.state not in (EJECTED, GONE) and not (self.state is ON_TRIAL and self.load)

    def hangs(self, elapsed: float, stall_timeout: float) -> bool:
        """Whether answers are due and not a byte has come for `stall_timeout`. To be asked at every look."""
        if (
            self.heard
            or not self.in_flight
            or not any(c.user is not None and c.user.awaiting for c in self.connections)
        ):
            self.heard = False
            self.silent_for = 0.0
            return False
        self.silent_for += elapsed
        return self.silent_for >= stall_timeout

    def tell_stalled(self) -> None:
        """The requests that may be tried elsewhere are; the others wait until their own limit."""
        for connection in list(self.connections):
            user = connection.user
            if user is not None and user.awaiting and user.retriable:
                connection.fail(STALLED)


class Replicas:
    """The replicas of the upstream `name`. `now` is the time of the last look."""

    def __init__(self, name: str) -> None:
        self.all: list[Replica] = []
        self.leaving: list[Replica] = []  # gone, with connections that still end
        self.serving: list[Replica] = []
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
                replica.hanging = False
        while 2 * self._absent() > len(self.all):
            self.take_back(min((replica for replica in self.all if replica.absent), key=lambda replica: replica.until))
        self._sort()

    def choose(self) -> Replica | None:
        """The less busy of two random ones; None only when there is none at all."""
        serving = self.serving
        if len(serving) > 1:
            return self._lesser(serving)
        return serving[0] if serving else None

    def choose_except(self, tried: Collection[Replica], avoid: Replica | None) -> Replica | None:
        """One that was not tried, `avoid` only when no other is left, and before giving up one that was ejected.

        An ejected one that hangs is left out: it would take the connection, and never answer.
        """
        untried = [replica for replica in self.all if replica not in tried]
        choices = [replica for replica in untried if replica.open]
        preferred = [replica for replica in choices if replica is not avoid]
        left = preferred or choices or [replica for replica in untried if not replica.hanging]
        return self._lesser(left) if left else None

    def _lesser(self, among: list[Replica]) -> Replica:
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

    def _admits(self, replica: Replica) -> bool:
        if replica.state is RAMPING:
            return random() * RAMP < self.now - replica.since  # noqa: S311
        return replica.open

    def eject(self, replica: Replica, cause: str) -> bool:
        """Leave it out for a while, unless more than half would be; whether it is out."""
        if replica.state in (EJECTED, GONE):
            return True
        if replica.state is not ON_TRIAL and 2 * (self._absent() + 1) > len(self.all):
            return False
        replica.ejections += 1
        seconds = min(EJECTION * replica.ejections, LONGEST_EJECTION)
        replica.state = EJECTED
        replica.until = self.now + seconds
        self._sort()
        log.warning("replica ejected", **self._names(replica), cause=cause, seconds=seconds)
        return True

    def eject_hanging(self, replica: Replica) -> bool:
        replica.hanging = self.eject(replica, "silence")
        return replica.hanging

    def take_back(self, replica: Replica) -> None:
        """It has proved itself, or is needed: its share begins to grow."""
        replica.state = RAMPING
        replica.since = self.now
        replica.failures = 0
        replica.hanging = False
        self._sort()
        log.info("replica returned", **self._names(replica))

    def look(self, now: float) -> None:
        """Take each a step further whose time has come."""
        self.now = now
        for replica in self.all:
            if replica.state is EJECTED and replica.until <= now:
                replica.state = ON_TRIAL
                replica.hanging = False
                self._sort()
            elif replica.state is RAMPING and now - replica.since >= RAMP:
                replica.state = SERVING
            elif replica.state is SERVING and now - replica.since >= LONGEST_EJECTION:
                replica.ejections = 0
        self.leaving = [replica for replica in self.leaving if replica.connections or replica.connecting]

    def _absent(self) -> int:
        return sum(replica.absent for replica in self.all)

    def _sort(self) -> None:
        self.serving = [replica for replica in self.all if replica.state is not EJECTED]

    def _names(self, replica: Replica) -> dict[str, str]:
        return {"upstream": self._name, "address": format_address(replica.address)}


def format_address(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
