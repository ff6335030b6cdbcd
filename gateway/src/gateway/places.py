"""How many requests may be in flight to an upstream at a time."""


class Places:
    """So many at the most: whoever takes one gives it back at its end.

    Nobody waits for one: behind an upstream that is too slow a queue would only grow.
    """

    def __init__(self, number: int) -> None:
        self._left = number

    @property
    def full(self) -> bool:
        return self._left <= 0

    def take(self) -> None:
        self._left -= 1

    def give_back(self) -> None:
        self._left += 1
