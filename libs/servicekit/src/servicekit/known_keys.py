"""The keys with which tokens are verified, as last read from where they are published."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Generic, TypeVar

import structlog

from servicekit import http

# Seconds. A token's time of issue is when its session was written, which may be a moment before its key was first used;
# and after a failover the database's clock may be behind what it was.
MARGIN = 60.0
SEEK_INTERVAL = 0.2
# Seconds. If the next read is due within this time, we wait for it; otherwise the answer remains uncertain.
_PATIENCE = 0.3

K = TypeVar("K")

log = structlog.get_logger()


class UnknownKeyError(http.ServiceUnavailableError):
    """No known key signed the token; the right one may have been published since the keys were last read.

    It is not logged: anyone can send tokens that name made-up keys.
    """

    logged = False


class KnownKeys(Generic[K]):
    """Keys by `kid`; there are none before the first read.

    `read` returns the published keys, and the age of that information in seconds. `clock` is the one by which tokens
    are issued, in epoch seconds.
    """

    def __init__(
        self, read: Callable[[], Awaitable[tuple[Mapping[str, K], float]]], clock: Callable[[], float]
    ) -> None:
        self.known: Mapping[str, K] = {}
        self._read = read
        self._clock = clock
        self._as_of = float("-inf")  # by the monotonic clock, like the next
        self._sought_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    @property
    def age(self) -> float:
        """Seconds since the known keys were known to be complete."""
        return time.monotonic() - self._as_of

    async def reread(self) -> None:
        """Read the keys, or wait for the read in progress. Raises what `read` raises."""
        if self._reading is None:
            # Other requests may wait for the read longer than the one that begins it, whose deadline and id it
            # therefore does not inherit.
            self._reading = asyncio.create_task(self._replace(), context=Context())
            self._reading.add_done_callback(_retrieve_exception)
        await asyncio.shield(self._reading)

    async def _replace(self) -> None:
        begun = time.monotonic()
        try:
            keys, age = await self._read()
            if begun - age >= self._as_of:
                self.known, self._as_of = keys, begun - age
        finally:
            self._reading = None

    async def find(self, kid: str, issued_at: float) -> K | None:
        """The key that signed a token issued at this time (epoch seconds); None if there certainly is none.

        Raises UnknownKeyError, and what `read` raises.
        """
        complete = kid in self.known or await self.complete_for(issued_at)
        key = self.known.get(kid)
        if key is None and not complete:
            raise UnknownKeyError("a token names a key that is not known yet")
        return key

    async def complete_for(self, issued_at: float) -> bool:
        """True if we know every key that can have signed a token issued at this time and presented now.

        A key is published before it signs. So keys read after a token was issued are enough, and an old token whose
        key is not among them is refused without reading again. Otherwise the keys are read again, at most five times a
        second if some are known; so a client whose token is damaged is told so at once.
        """
        presented = time.monotonic()
        needed = presented - max(0.0, self._clock() - issued_at - MARGIN)
        for _ in range(2):  # a read in progress may have begun too early
            if self._as_of >= needed:
                break
            if self._reading is None and self.known:
                pause = self._sought_at + SEEK_INTERVAL - time.monotonic()
                if pause > _PATIENCE:
                    break
                await asyncio.sleep(pause)
                if self._reading is None and self._as_of < needed:
                    self._sought_at = time.monotonic()
                    log.info("unknown key sought")
            if self._as_of < needed:
                await self.reread()
        return bool(self.known) and self._as_of >= needed


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Mark the exception as retrieved: those who waited have it, and if all of them left, nobody needs it."""
    if not task.cancelled():
        task.exception()
