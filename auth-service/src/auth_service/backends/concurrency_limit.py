"""Limits the requests that a service is sent at a time: what it took when it last refused one, slowly more (AIMD)."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator

LEAST = 8
DECREASE = 0.95
INCREASE = 0.5  # with each request that was taken


class NoRoomError(Exception):
    """The service has refused for lack of room."""


class ConcurrencyLimit:
    """`most` until the service refuses for lack of room; then those that it would refuse are refused here, for less.

    A network that has none in flight may send one all the same: the service itself shares its room among networks.
    """

    def __init__(self, most: float = math.inf) -> None:
        self._most = most
        self._limit = most
        self._in_flight: Counter[str] = Counter()

    def check(self, network: str) -> None:
        """Raises NoRoomError where one more from this network would be too many."""
        if self._in_flight[network] and self._in_flight.total() >= self._limit:
            raise NoRoomError

    @contextlib.contextmanager
    def in_flight(self, network: str) -> Iterator[None]:
        """Around a request; NoRoomError inside lowers the limit."""
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
