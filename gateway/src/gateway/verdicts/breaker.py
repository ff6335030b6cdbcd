"""A circuit breaker: while auth-service does not answer at all, requests are refused at once."""

import asyncio

FAILURES = 20  # in a row
PAUSE = 1.0


class Breaker:
    """Opens after `FAILURES` unanswered questions in a row; then one question per second probes auth-service."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._failures = 0
        self._next_probe = 0.0

    def admits(self) -> bool:
        """True if the question may be asked."""
        if self._failures < FAILURES:
            return True
        now = self._time()
        if now < self._next_probe:
            return False
        self._next_probe = now + PAUSE
        return True

    def note(self, *, answered: bool) -> None:
        """Record whether a question was `answered`, with whatever result."""
        if answered:
            self._failures = 0
        else:
            self._failures += 1
            if self._failures == FAILURES:
                self._next_probe = self._time() + PAUSE
