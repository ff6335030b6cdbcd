"""Detects that this process stood still (SIGSTOP, `docker pause`, a swapping host), and which requests that affects.

A request may wait in a socket's buffer while the process stands still, and its caller may since have sent it elsewhere.
Such a request must not be carried out, whether it was read before the standstill or is read after it.
"""

import asyncio
import math
import time

import structlog

# Seconds. None of our callers gives up on a replica before 0.9 seconds (two times `STALL_TIMEOUT`, less one check).
LONGEST_PAUSE = 0.7
BEAT = 0.1
# Seconds within which requests that waited in a buffer are read; counted again from the start while the loop is late.
SETTLING = 0.5
_LATE = BEAT + 0.2

log = structlog.get_logger()


class Standstills:
    """Detects the standstills of one event loop. Times are those of `time.monotonic()`, in seconds.

    A timer beats ten times a second between `start` and `stop`. Before `start` nothing counts as a standstill.
    """

    def __init__(self) -> None:
        self._last_beat = math.inf
        self._stale_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin now, even if called again: delays before this call are no standstills."""
        self.stop()
        self._last_beat = time.monotonic()
        self._beat(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def arrival(self) -> float:
        """The earliest time at which data that is being read now can have arrived."""
        self._look()
        return min(self._last_beat, time.monotonic())

    def spoiled(self, arrival: float) -> bool:
        """True if the process has stood still since `arrival`, so that the caller may have given up on the request."""
        self._look()
        return arrival <= self._stale_until

    def _look(self) -> None:
        now = time.monotonic()
        paused = now - self._last_beat
        if paused > LONGEST_PAUSE:
            self._last_beat = now
            self._stale_until = now + SETTLING
            log.error("stood still", seconds=round(paused, 1))

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look()
        now = time.monotonic()
        if now <= self._stale_until and now - self._last_beat > _LATE:
            self._stale_until = now + SETTLING
        self._last_beat = now
        self._timer = loop.call_later(BEAT, self._beat, loop)
