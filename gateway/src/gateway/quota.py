"""Quotas of requests in flight, WebSockets or bytes of memory, with a maximum share for each consumer."""

from collections import defaultdict
from typing import NamedTuple

# All networks within one wide network together may have this many times the share of a single network.
_WIDE_SHARE = 2


class Consumer(NamedTuple):
    """A consumer of a quota: a network and the wide network that contains it, or a user, who has no wide network."""

    name: str
    wide: str | None = None


class Quota:
    """At most `total` units, of which one consumer may have at most `share`. Consumers give back what they take.

    The networks within one wide network may have twice the share together. There is no queue: with an upstream that is
    too slow, a queue would only grow.
    """

    def __init__(self, total: int, share: int) -> None:
        self._left = total
        self._share = share
        self._taken: defaultdict[str, int] = defaultdict(int)

    def full(self, more: int = 1) -> bool:
        """True if fewer than `more` units are left."""
        return self._left < more

    def at_share(self, consumer: Consumer, more: int = 1) -> bool:
        """True if `more` units would exceed the share of this consumer or of its wide network."""
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
