"""A connection that knows its server's clock, so that a statement can say until when it may be carried out.

A statement can wait for a long time, in this process while it stands still, in a socket, or in a server that hangs,
and be carried out when its caller has given up and perhaps sent the same to another replica. So every statement that
writes carries a deadline in the database's own time, and `before_deadline` (a function that the migrations make)
raises the SQLSTATE `LATE` once that has passed. Only differences are taken from this process's clock, so it does no
harm where clocks differ.
"""

import contextlib
import time
from typing import Any

import asyncpg

from servicekit import callers

STATEMENT_TIMEOUT = 3.0
# A write that has not begun, or still waits for a lock, after so many seconds is given up: its caller may have left and
# asked elsewhere meanwhile, and nothing takes back a statement that has been sent.
LONGEST_DELAY = 1.5
LATE = "PY408"
# A clock that is set while a connection is open is noticed after so many seconds.
_MEASURED_FOR = 10.0
_CLOSE_TIMEOUT = 1.0
_MEASURE = """
    SELECT extract(epoch FROM clock_timestamp())::float8 AS now, pg_postmaster_start_time()::text AS started
"""


class ClockedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """`ahead` is the server's clock in epoch seconds less `time.monotonic()`, never more than it is in truth.

    `server` tells one start of one server from another.
    """

    __slots__ = ("_measured_at", "ahead", "server")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.ahead = 0.0
        self.server = ""
        self._measured_at = float("-inf")

    def needs_measuring(self, after: float) -> bool:
        """True if the clock was measured before `after` (in `time.monotonic()`) or too long ago."""
        return self._measured_at <= max(after, time.monotonic() - _MEASURED_FOR)

    async def measure(self) -> None:
        """Ask the server for its clock. The answer's time is taken off, so that a deadline comes early and not late."""
        row = await self.fetchrow(_MEASURE)
        self._measured_at = time.monotonic()
        self.ahead = row["now"] - self._measured_at
        self.server = row["started"]

    def deadline(self) -> float:
        """Until when a statement may be carried out for the caller of the request being served, in epoch seconds.

        That is as long as the caller waits, and `LONGEST_DELAY` at the most. Raises `callers.NobodyWaitsError`.
        """
        seconds = min(callers.current().remaining(), LONGEST_DELAY)
        if seconds <= 0:
            raise callers.NobodyWaitsError
        return self.ahead + time.monotonic() + seconds

    async def close(self, *, timeout: float | None = None) -> None:
        """Close it, within a second where no time is given: the server may never answer again."""
        if timeout is not None:
            await super().close(timeout=timeout)
            return
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await super().close(timeout=_CLOSE_TIMEOUT)
