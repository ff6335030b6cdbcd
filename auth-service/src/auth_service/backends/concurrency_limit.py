"""Limits the requests in flight to a service; the limit falls when the service refuses one, and rises slowly (AIMD)."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator

LEAST = 8
DECREASE = 0.95
INCREASE = 0.5  # for each request that was accepted


class NoRoomError(Exception):
    """The service has refused a request because it is full."""


class ConcurrencyLimit:
    """Allows `most` requests in flight until the service refuses one; then refuses here, cheaply, what it would refuse.

    A network with no request in flight may always send one: the service itself shares its room among networks.
    """

    def __init__(self, most: float = math.inf) -> None:
        self._most = most
        self._limit = most
        self._in_flight: Counter[str] = Counter()

    def check(self, network: str) -> None:
        """Raise NoRoomError if one more request from this network would exceed the limit."""
        if self._in_flight[network] and self._in_flight.total() >= self._limit:
            raise NoRoomError

    @contextlib.contextmanager
    def in_flight(self, network: str) -> Iterator[None]:
        """Count a request as in flight inside the context; a NoRoomError raised there lowers the limit."""
        self._in_flight[network] += 1
        try:
            yield
        except NoRoomError:
            self._limit = max(LEAST, DECREASE * (self._in_flight.total() - 1))
            raise
        else:
            self._limit = min(self._most, self._limit + INCREASE)
        finally:
            self._in_flight[network] -= 1
            if not self._in_flight[network]:
                del self._in_flight[network]
