"""The users that wait for a connection to an upstream, and attempts to open one."""

import asyncio
import math

from servicekit.upstreams.connection import PooledReplica, User


class Waiting:
    """A user without a connection yet. `connecting`: one is being made for it."""

    __slots__ = ("avoid", "connecting", "deadline", "tried", "user")

    def __init__(self, user: User, avoid: PooledReplica | None, deadline: float) -> None:
        self.user = user
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
