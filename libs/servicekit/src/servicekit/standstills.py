"""Notices that this process stood still (SIGSTOP, `docker pause`, a host that swapped), and what it read meanwhile.

A request may wait in a socket's buffer while a process stands still, and its caller may have sent it elsewhere since.
Such a request must not be carried out: neither one that was read before the standstill nor one that is read after it.
"""

import asyncio
import math
import time

import structlog

# No caller of ours gives up on a replica sooner than after 0.9 seconds (two times `STALL_TIMEOUT`, less one look).
LONGEST_PAUSE = 0.7
BEAT = 0.1
# What waited in a buffer is read within this time, which begins again for as long as the loop is late.
SETTLING = 0.5
_LATE = BEAT + 0.2

log = structlog.get_logger()


class Standstills:
    """The standstills of one event loop. Times are those of `time.monotonic()`, in seconds.

    A timer beats ten times a second between `start` and `stop`. Before `start` nothing counts as a standstill.
    """

    def __init__(self) -> None:
        self._last_beat = math.inf
        self._stale_until = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Count from now on, also when called again: what held the process up before is no standstill."""
        self.stop()
        self._last_beat = time.monotonic()
        self._beat(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def arrival(self) -> float:
        """The earliest time at which something that is being read now can have arrived."""
        self._look()
        return min(self._last_beat, time.monotonic())

    def spoiled(self, arrival: float) -> bool:
        """True if the process stood still since `arrival`, so that the caller may have given up on the request."""
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
