"""The caller of the request being served: how long it waits, and whether it is still there."""

import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from aiohttp import web

from servicekit.standstills import Standstills

TIMEOUT = "X-Parley-Timeout"
LONGEST_TIMEOUT = 3600.0

_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?")


class CallerGoneError(Exception):
    """The caller has hung up before its work was started."""


class NobodyWaitsError(Exception):
    """The caller has left, has waited for as long as it said it would, or was left behind by a standstill."""


class CallerConnection(web.RequestHandler):
    """aiohttp's connection, but it says when its request arrived, and when it is lost.

    aiohttp tells a handler that the caller has left only by cancelling it anywhere. `arrival` is in
    `time.monotonic()`: the earliest time at which the request being served, or the next one, can have arrived.
    """

    __slots__ = ("arrival", "on_lost", "standstills")

    def __init__(self, *arguments: Any, standstills: Standstills, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.standstills = standstills
        self.arrival = -math.inf
        self.on_lost: set[Callable[[], None]] = set()

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.arrival = self.standstills.arrival()
        super().data_received(data)

    @property
    def idle(self) -> bool:
        """No request has come that is not answered."""
        return self._current_request is None and not self._messages

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        for tell in tuple(self.on_lost):
            tell()


class Caller:
    """The one that waits for an answer. `deadline` is in `loop.time()`: how long the caller said that it waits."""

    def __init__(self, deadline: float = math.inf, connection: web.RequestHandler | None = None) -> None:
        self.deadline = deadline
        self._connection = connection
        self._arrival = connection.arrival if isinstance(connection, CallerConnection) else math.inf

    @property
    def gone(self) -> bool:
        """True if the connection that the request came by is lost."""
        if self._connection is None:
            return False
        return self._connection.transport is None or self._connection.transport.is_closing()

    @property
    def left_behind(self) -> bool:
        """True if this process stood still since the request arrived: the caller may have asked elsewhere since."""
        connection = self._connection
        return isinstance(connection, CallerConnection) and connection.standstills.spoiled(self._arrival)

    def remaining(self) -> float:
        """Seconds that the caller still waits, not above zero when it waits no longer."""
        if self.gone or self.left_behind:
            return -math.inf
        return self.deadline - time.monotonic()

    @contextlib.asynccontextmanager
    async def waiting(self, until: float = math.inf) -> AsyncIterator[None]:
        """Raises TimeoutError inside when the caller has gone, and at its deadline or at `until`, in `loop.time()`.

        What this context is around must be safe to cancel.
        """
        when = min(until, self.deadline) if self.remaining() > -math.inf else -math.inf
        async with asyncio.timeout_at(None if when == math.inf else when) as limit:

            def end() -> None:
                if not limit.expired():
                    limit.reschedule(-math.inf)

            with self._telling(end):
                yield

    @contextlib.contextmanager
    def _telling(self, tell: Callable[[], None]) -> Iterator[None]:
        if not isinstance(self._connection, CallerConnection):
            yield
            return
        self._connection.on_lost.add(tell)
        try:
            yield
        finally:
            self._connection.on_lost.discard(tell)


_current: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current() -> Caller:
    """The caller of the request being served; where none is, one that waits for ever."""
    return _current.get() or Caller()


@contextlib.contextmanager
def serving(request: web.BaseRequest) -> Iterator[None]:
    """Within this context the request's caller is the current one."""
    connection = request.protocol
    arrival = connection.arrival if isinstance(connection, CallerConnection) else time.monotonic()
    token = _current.set(Caller(arrival + _timeout(request), connection))
    try:
        yield
    finally:
        _current.reset(token)


def _timeout(request: web.BaseRequest) -> float:
    """Seconds that the caller says it waits. What is malformed says nothing."""
    given = request.headers.getall(TIMEOUT, [])
    if len(given) != 1 or not _SECONDS.fullmatch(given[0]):
        return math.inf
    seconds = float(given[0])
    return seconds if seconds <= LONGEST_TIMEOUT else math.inf


def outgoing_timeout(seconds: float) -> dict[str, str]:
    """The header that tells another service how long it is waited for."""
    return {TIMEOUT: f"{max(seconds, 0.0):.3f}"}
