"""The number of requests that may be tried again: a share of the recent ones, so that retries feed no overload."""

import time
from collections.abc import Callable

SHARE = 0.2
FLOOR = 10
WINDOW = 10  # seconds, each with a slot of its own


class RetryBudget:
    """A fifth of the requests of the last ten seconds may be tried again, and ten in any case."""

    __slots__ = ("_clock", "_requests", "_retries", "_second")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = int(clock())
        self._requests = [0] * WINDOW
        self._retries = [0] * WINDOW

    def deposit(self) -> None:
        """A request has come."""
        self._requests[self._slot()] += 1

    def withdraw(self) -> bool:
        """True if a request may be tried again, which is then counted."""
        slot = self._slot()
        if sum(self._retries) >= FLOOR + SHARE * sum(self._requests):
            return False
        self._retries[slot] += 1
        return True

    def _slot(self) -> int:
        second = int(self._clock())
        if second != self._second:
            for passed in range(max(self._second, second - WINDOW) + 1, second + 1):
                self._requests[passed % WINDOW] = self._retries[passed % WINDOW] = 0
            self._second = second
        return second % WINDOW
