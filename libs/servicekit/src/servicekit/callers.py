"""Who waits for the answer to the request being served: until when, and whether still."""

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

TIMEOUT = "X-Parley-Timeout"
LONGEST_TIMEOUT = 3600.0

_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?")


class CallerGoneError(Exception):
    """The caller has hung up before its work was started."""


class CallerConnection(RequestHandler):
    """aiohttp's connection, but it says when it is lost: aiohttp tells a handler only by cancelling it anywhere."""

    __slots__ = ("on_lost",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.on_lost: set[Callable[[], None]] = set()

    @property
    def idle(self) -> bool:
        """No request has come that is not answered."""
        return self._current_request is None and not self._messages

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        for tell in tuple(self.on_lost):
            tell()


class Caller:
    """Whoever waits for an answer. `deadline` is in `loop.time()`: how long the caller said that it waits."""

    def __init__(self, deadline: float = math.inf, connection: RequestHandler | None = None) -> None:
        self.deadline = deadline
        self._connection = connection

    @property
    def gone(self) -> bool:
        """Whether the connection that the request came by is lost."""
        if self._connection is None:
            return False
        return self._connection.transport is None or self._connection.transport.is_closing()

    def remaining(self) -> float:
        """Seconds that the caller still waits, not above zero when it waits no longer."""
        return self.deadline - asyncio.get_running_loop().time()

    @contextlib.asynccontextmanager
    async def waiting(self, until: float = math.inf) -> AsyncIterator[None]:
        """Raises TimeoutError inside when the caller has gone, and at its deadline or at `until`, in `loop.time()`.

        What this context is around must be safe to cancel.
        """
        when = -math.inf if self.gone else min(until, self.deadline)
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
    deadline = asyncio.get_running_loop().time() + _timeout(request)
    token = _current.set(Caller(deadline, request.protocol))
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
