"""Networks that are cut, half-open, slow or lossy between any two processes, and names that do not resolve."""

import contextlib
from collections.abc import AsyncIterator

from fault import HELD, NOTHING, UNAVAILABLE, Fault, Inject
from name_server import Mode
from relay import Weather
from replicas import Stack

Hop = tuple[str, str]
_LOST_REPLIES = 6
# Caller and callee, each a replica or all replicas of a service.
ONE_OF_SEVERAL: tuple[Hop, ...] = (
    ("client", "gateway-1"),
    ("gateway", "auth-service-1"),
    ("gateway", "user-service-1"),
    ("auth-service", "user-service-1"),
    ("user-service", "auth-service-1"),
)
NOBODY_ELSE: tuple[Hop, ...] = (
    ("gateway", "auth-service"),
    ("auth-service", "user-service"),
    ("auth-service", "postgres"),
    ("user-service", "postgres"),
)
UNNOTICED: tuple[Hop, ...] = (("auth-service", "redis"), ("user-service", "redis"))
SPARED = {("auth-service", "user-service"): ("refresh",), ("user-service", "postgres"): ("refresh",)}
CUTS: dict[str, Weather] = {
    "cut-forth": Weather(stalled={"forth"}),
    "cut-back": Weather(stalled={"back"}),
    "cut": Weather(swallowing=True, stalled={"forth", "back"}),
}


def weather(hop: Hop, what: Weather) -> Inject:
    """The network is as the row's name says; data held back is delivered at the end."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        relays = stack.hops.between(*hop)
        for relay in relays:
            await relay.become(what)
        try:
            yield
        finally:
            for relay in relays:
                await relay.become(Weather())

    return inject


def refused(hop: Hop) -> Inject:
    """Every connection is reset, and new ones are refused."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        async with weather(hop, Weather(refusing=True))(stack):
            for relay in stack.hops.between(*hop):
                relay.reset()
            yield

    return inject


def half_open(hop: Hop) -> Inject:
    """The callee has lost every connection without the caller's knowledge. New connections work."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        for relay in stack.hops.between(*hop):
            relay.half_close()
        yield

    return inject


def losing_replies(hop: Hop) -> Inject:
    """Replies are lost one after another: the request was executed, and its caller does not learn of it."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        async with weather(hop, Weather(replies=_LOST_REPLIES))(stack):
            yield

    return inject


def names(mode: Mode) -> Inject:
    """The name server answers every query as the row's name says."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        stack.names.mode = mode
        try:
            yield
        finally:
            stack.names.mode = "honest"

    return inject


def _name(hop: Hop) -> str:
    return "-to-".join(hop)


def _cut_rows(hop: Hop) -> list[Fault]:
    cuts = {name: weather(hop, what) for name, what in CUTS.items()}
    others = {"refused": refused(hop), "half-open": half_open(hop), "replies-lost": losing_replies(hop)}
    return [_cut_row(f"{_name(hop)}-{name}", hop, inject) for name, inject in (cuts | others).items()]


def _cut_row(name: str, hop: Hop, inject: Inject) -> Fault:
    if hop in UNNOTICED:
        return Fault(name, inject, 5, NOTHING, over=0.0, longest=2.0, ways="relayed")
    if hop in NOBODY_ELSE:
        spares = SPARED.get(hop, ())
        return Fault(name, inject, 5, UNAVAILABLE, 5.0, longest=10.0, spares=spares, ways="relayed")
    # On a half-open connection, a gateway waits four seconds before it asks another replica. A client whose own
    # connection is half-open has no way to know.
    forgotten = name.endswith("half-open")
    by_client = hop[0] == "client"
    longest = (36.0 if by_client else 7.0) if forgotten else (7.0 if by_client else 2.0)
    over = 6.0 if forgotten else 4.0
    return Fault(name, inject, 5, HELD, over, longest=longest, of_itself=True, ways="relayed")


def _late_reply() -> Fault:
    """The client gets no response for half a minute, and its refresh token is valid nonetheless."""
    hop = ("gateway", "auth-service-1")
    inject = weather(hop, CUTS["cut-back"])
    return Fault(f"{_name(hop)}-cut-back-34s", inject, 34, HELD, 4.0, longest=2.0, of_itself=True, ways="relayed")


def _slow_rows() -> list[Fault]:
    """Slow or lossy networks cost time, and cause failures only if a verdict takes too long."""
    hops = [hop for hop in (*NOBODY_ELSE, *UNNOTICED) if hop != ("user-service", "postgres")]
    slow = [
        Fault(
            f"{_name(hop)}-200-ms",
            weather(hop, Weather(latency=0.1)),
            6,
            NOTHING,
            over=0.0,
            longest=3.0,
            ways="relayed",
        )
        for hop in hops
    ]
    lossy = [
        Fault(
            f"{_name(hop)}-5-percent-lost",
            weather(hop, Weather(loss=0.05)),
            6,
            HELD,
            over=3.0,
            longest=5.0,
            ways="relayed",
        )
        for hop in (("client", "gateway"), *hops)
    ]
    return slow + lossy


def _name_rows() -> list[Fault]:
    """Known replicas stay known, but a new connection to a database needs an answer."""
    unanswered: tuple[Mode, ...] = ("silent", "failing")
    unnoticed: tuple[Mode, ...] = ("dead-replica", "shuffling")
    return [
        *(Fault(f"names-{mode}", names(mode), 8, (503,), over=2.0, longest=2.0) for mode in unanswered),
        *(Fault(f"names-{mode}", names(mode), 8, NOTHING, over=0.0, longest=2.0) for mode in unnoticed),
        Fault("names-lying", names("lying"), 8, UNAVAILABLE, over=5.0, longest=5.0),
    ]


FAULTS = [
    *_name_rows(),
    *(row for hop in (*ONE_OF_SEVERAL, *NOBODY_ELSE, *UNNOTICED) for row in _cut_rows(hop)),
    _late_reply(),
    *_slow_rows(),
]
