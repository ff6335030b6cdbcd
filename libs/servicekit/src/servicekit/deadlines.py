"""Time limits without a timer for each: objects carry deadlines, and one timer checks all of them every 0.1 seconds."""

import asyncio
import math
from typing import Protocol

import structlog

INTERVAL = 0.1

log = structlog.get_logger()


class Late(Protocol):
    """An object with a deadline, in `loop.time()`, or `math.inf` for none; it may be set at any time."""

    deadline: float

    def expire(self) -> None:
        """Called at every check after the deadline, until a new one is set or the object is discarded."""


class Deadlines:
    """The objects with deadlines, checked ten times a second between `start` and `stop`.

    A check that is itself late by an interval is skipped in favour of the next one.
    """

    def __init__(self) -> None:
        self._items: set[Late] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf  # time of the next check
        self._held_up = False

    def add(self, item: Late) -> None:
        self._items.add(item)

    def discard(self, item: Late) -> None:
        self._items.discard(item)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + INTERVAL
        self._timer = loop.call_at(self._due, self._look, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now, due = loop.time(), self._due
        self.start(loop)
        if now - due > INTERVAL and not self._held_up:
            # The loop was held up, so let it read first what has arrived meanwhile. Only one check is skipped, since
            # otherwise nothing would ever expire in a busy loop.
            self._held_up = True
            return
        self._held_up = False
        for item in [item for item in self._items if item.deadline <= now]:
            if item.deadline <= now and item in self._items:  # expiring another item may have changed both
                _expire(item)


def _expire(item: Late) -> None:
    try:
        item.expire()
    except Exception:  # the other items' limits still apply
        log.exception("unexpected error")
