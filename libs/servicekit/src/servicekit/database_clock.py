"""A connection that knows its server's clock, so that a statement can carry a deadline.

A statement can be delayed for a long time, in this process while it is suspended, in a socket, or in a server that
hangs, and then be executed when its caller has given up and perhaps sent the same request to another replica. So every
statement that writes carries a deadline in the database's own time, and `before_deadline` (a function that the
migrations create) raises the SQLSTATE `LATE` once that has passed. Only differences are taken from this process's
clock, so clock skew does no harm.
"""

import contextlib
import time
from typing import Any

import asyncpg

from servicekit import callers

STATEMENT_TIMEOUT = 3.0
# Seconds after which a write that has not begun, or still waits for a lock, is abandoned: its caller may have left and
# asked another replica meanwhile, and a statement that has been sent cannot be taken back.
LONGEST_DELAY = 1.5
LATE = "PY408"
# Seconds after which a change of the server's clock is noticed on an open connection.
_MEASURED_FOR = 10.0
_CLOSE_TIMEOUT = 1.0
_MEASURE = """
    SELECT extract(epoch FROM clock_timestamp())::float8 AS now, pg_postmaster_start_time()::text AS started
"""


class ClockedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """`ahead` is the server's clock in epoch seconds minus `time.monotonic()`, and never more than the true difference.

    `server` identifies one start of one server.
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
        """Ask the server for its clock. The answer's travel time is deducted, so that a deadline is never too late."""
        row = await self.fetchrow(_MEASURE)
        self._measured_at = time.monotonic()
        self.ahead = row["now"] - self._measured_at
        self.server = row["started"]

    def deadline(self) -> float:
        """The deadline, in epoch seconds by the server's clock, of a statement for the caller of the current request.

        It is as far away as the caller waits, at most `LONGEST_DELAY`. Raises `callers.NobodyWaitsError`.
        """
        seconds = min(callers.current().remaining(), LONGEST_DELAY)
        if seconds <= 0:
            raise callers.NobodyWaitsError
        return self.ahead + time.monotonic() + seconds

    async def close(self, *, timeout: float | None = None) -> None:
        """Close the connection, within a second by default: the server may never answer again."""
        if timeout is not None:
            await super().close(timeout=timeout)
            return
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await super().close(timeout=_CLOSE_TIMEOUT)
