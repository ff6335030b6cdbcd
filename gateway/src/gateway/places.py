"""A number of places, and how many of them one holder may have: requests in flight, WebSockets, bytes of memory."""

from collections import defaultdict
from typing import NamedTuple

# The networks of one wide network may have this many times the share of one network together.
_WIDE_SHARE = 2


class Holder(NamedTuple):
    """A taker of places: a network with the wide network around it, or a user without one."""

    name: str
    wide: str | None = None


class Places:
    """So many places at most, and `share` of them at most for one holder, who gives back each that it takes.

    The networks of one wide network have twice the share together. Nobody waits for a place: behind an upstream that is
    too slow a queue would only grow.
    """

    def __init__(self, number: int, share: int) -> None:
        self._left = number
        self._share = share
        self._held: defaultdict[str, int] = defaultdict(int)

    def full(self, more: int = 1) -> bool:
        """True if there is no room for so many more, for any holder."""
        return self._left < more

    def at_share(self, holder: Holder, more: int = 1) -> bool:
        """True if so many more would be too many for this holder, or for the wide network around it."""
        name, wide = holder
        held = self._held
        if held.get(name, 0) + more > self._share:
            return True
        return wide is not None and held.get(wide, 0) + more > _WIDE_SHARE * self._share

    def take(self, holder: Holder, number: int = 1) -> None:
        self._left -= number
        name, wide = holder
        self._held[name] += number
        if wide is not None:
            self._held[wide] += number

    def give_back(self, holder: Holder, number: int = 1) -> None:
        self._left += number
        name, wide = holder
        self._subtract(name, number)
        if wide is not None:
            self._subtract(wide, number)

    def _subtract(self, name: str, number: int) -> None:
        self._held[name] -= number
        if not self._held[name]:
            del self._held[name]
