"""Borrowers that wait for a connection to an upstream, and attempts to open one."""

import asyncio
import math

from servicekit.upstreams.connection import Borrower, PooledReplica


class Waiting:
    """A borrower that has no connection yet. If `connecting`, one is being opened for it."""

    __slots__ = ("avoid", "borrower", "connecting", "deadline", "tried")

    def __init__(self, borrower: Borrower, avoid: PooledReplica | None, deadline: float) -> None:
        self.borrower = borrower
        self.avoid = avoid
        self.deadline = deadline
        self.connecting = False
        self.tried: list[PooledReplica] = []


class Attempt:
    """An attempt to open a connection, limited by `limit`, which ends when `Deadlines` finds the deadline passed.

    A separate timer could end it after the event loop was held up, although the connection had been opened meanwhile.
    """

    def __init__(self, limit: asyncio.Timeout, deadline: float) -> None:
        self.deadline = deadline
        self._limit = limit

    def expire(self) -> None:
        self.deadline = math.inf
        self._limit.reschedule(0.0)
