"""The borrowers that wait for a connection to an upstream, and attempts to open one."""

import asyncio
import math

from servicekit.upstreams.connection import Borrower, PooledReplica


class Waiting:
    """A borrower without a connection yet. `connecting`: one is being made for it."""

    __slots__ = ("avoid", "borrower", "connecting", "deadline", "tried")

    def __init__(self, borrower: Borrower, avoid: PooledReplica | None, deadline: float) -> None:
        self.borrower = borrower
        self.avoid = avoid
        self.deadline = deadline
        self.connecting = False
        self.tried: list[PooledReplica] = []


class Attempt:
    """To open a connection, within `limit`, which ends when a look finds that the deadline has passed.

    A timer of its own would end it after a pause of the loop, in which the connection was made and not seen.
    """

    def __init__(self, limit: asyncio.Timeout, deadline: float) -> None:
        self.deadline = deadline
        self._limit = limit

    def expire(self) -> None:
        self.deadline = math.inf
        self._limit.reschedule(0.0)
