"""A number of places, and how many of them one holder may have: requests in flight, WebSockets, bytes of memory."""

from collections import defaultdict


class Places:
    """So many places at most, and `share` of them at most for one holder, who gives back each that it takes.

    Nobody waits for one: behind an upstream that is too slow a queue would only grow.
    """

    def __init__(self, number: int, share: int) -> None:
        self._left = number
        self._share = share
        self._held: defaultdict[str, int] = defaultdict(int)

    def full(self, more: int = 1) -> bool:
        """True if there is no room for so many more, for any holder."""
        return self._left < more

    def at_share(self, holder: str, more: int = 1) -> bool:
        """True if so many more would be too many for this holder."""
        return self._held.get(holder, 0) + more > self._share

    def take(self, holder: str, number: int = 1) -> None:
        self._left -= number
        self._held[holder] += number

    def give_back(self, holder: str, number: int = 1) -> None:
        self._left += number
        self._held[holder] -= number
        if not self._held[holder]:
            del self._held[holder]
