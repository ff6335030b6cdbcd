"""When auth-service does not answer at all, requests are told so at once instead of waiting for it one by one."""

import asyncio

FAILURES = 20  # in a row
PAUSE = 1.0


class Breaker:
    """Closed until nobody has answered so many questions in a row; then one question a second finds out."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._failures = 0
        self._next_probe = 0.0

    def admits(self) -> bool:
        """Whether the question may be asked."""
        if self._failures < FAILURES:
            return True
        now = self._time()
        if now < self._next_probe:
            return False
        self._next_probe = now + PAUSE
        return True

    def note(self, *, answered: bool) -> None:
        """Whether a question was answered, whatever the answer."""
        if answered:
            self._failures = 0
        else:
            self._failures += 1
            if self._failures == FAILURES:
                self._next_probe = self._time() + PAUSE
