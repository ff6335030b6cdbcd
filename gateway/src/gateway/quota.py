"""Quotas, and the share of one that a single consumer may have: requests in flight, WebSockets, bytes of memory."""

from collections import defaultdict
from typing import NamedTuple

# The networks of one wide network may have this many times the share of one network together.
_WIDE_SHARE = 2


class Consumer(NamedTuple):
    """A consumer of quotas: a network with the wide network around it, or a user without one."""

    name: str
    wide: str | None = None


class Quota:
    """Admits `total` at most, and at most `share` of them for one consumer, which gives back what it takes.

    The networks of one wide network have twice the share together. Nobody waits until there is room: behind an upstream
    that is too slow a queue would only grow.
    """

    def __init__(self, total: int, share: int) -> None:
        self._left = total
        self._share = share
        self._taken: defaultdict[str, int] = defaultdict(int)

    def full(self, more: int = 1) -> bool:
        """True if there is no room for so many more, for any consumer."""
        return self._left < more

    def at_share(self, consumer: Consumer, more: int = 1) -> bool:
        """True if so many more would be too many for this consumer, or for the wide network around it."""
        name, wide = consumer
        taken = self._taken
        if taken.get(name, 0) + more > self._share:
            return True
        return wide is not None and taken.get(wide, 0) + more > _WIDE_SHARE * self._share

    def take(self, consumer: Consumer, number: int = 1) -> None:
        self._left -= number
        name, wide = consumer
        self._taken[name] += number
        if wide is not None:
            self._taken[wide] += number

    def give_back(self, consumer: Consumer, number: int = 1) -> None:
        self._left += number
        name, wide = consumer
        self._subtract(name, number)
        if wide is not None:
            self._subtract(wide, number)

    def _subtract(self, name: str, number: int) -> None:
        self._taken[name] -= number
        if not self._taken[name]:
            del self._taken[name]
