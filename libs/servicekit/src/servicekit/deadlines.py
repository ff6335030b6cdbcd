"""Time limits without a timer each: whoever can be late carries a deadline, and one look in ten a second finds it."""

import asyncio
import math
from typing import Protocol

import structlog

INTERVAL = 0.1

log = structlog.get_logger()


class Late(Protocol):
    """What can be late. `deadline` is in `loop.time()`, `math.inf` for none, and may be set at any time."""

    deadline: float

    def expire(self) -> None:
        """The deadline has passed. Called at every look until it is set anew or the object is discarded."""


class Deadlines:
    """Those that can be late, looked at ten times a second between `start` and `stop`.

    A look that is itself late by an interval is left to the next one.
    """

    def __init__(self) -> None:
        self._items: set[Late] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf  # when the next look is
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
            # The loop was held up: what has arrived meanwhile is read first. Once, else a busy loop would let nobody be
            # late.
            self._held_up = True
            return
        self._held_up = False
        for item in [item for item in self._items if item.deadline <= now]:
            if item.deadline <= now and item in self._items:  # another one's end may have changed either
                _expire(item)


def _expire(item: Late) -> None:
    try:
        item.expire()
    except Exception:  # the limits of everybody else hold all the same
        log.exception("unexpected error")
