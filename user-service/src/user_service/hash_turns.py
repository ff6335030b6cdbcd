"""Turns at the hashing threads: round robin over wide networks, the networks in each of them, and accounts there."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence


class Turn:
    """Waits for a thread: `place` becomes True when one is free, and False when the turn is taken away.

    `path` leads to the account that it is for: the wide network, the network in it, and the account there.
    """

    def __init__(self, path: Sequence[str]) -> None:
        self.path = path
        self.place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class _Line:
    """Turns that wait: each part of the line has one in turn, and where there are no parts, the first one comes."""

    def __init__(self) -> None:
        self._parts: OrderedDict[str, _Line] = OrderedDict()
        self._turns: dict[Turn, None] = {}

    def __bool__(self) -> bool:
        return bool(self._parts or self._turns)

    def add(self, turn: Turn, path: Sequence[str]) -> None:
        if path:
            self._parts.setdefault(path[0], _Line()).add(turn, path[1:])
        else:
            self._turns[turn] = None

    def remove(self, turn: Turn, path: Sequence[str]) -> None:
        """Nothing where it does not wait here."""
        if not path:
            self._turns.pop(turn, None)
        elif path[0] in self._parts:
            self._parts[path[0]].remove(turn, path[1:])
            if not self._parts[path[0]]:
                del self._parts[path[0]]

    def next(self) -> Turn:
        """The first turn; the parts that it comes from are last from now on."""
        if not self._parts:
            return next(iter(self._turns))
        name, part = next(iter(self._parts.items()))
        self._parts.move_to_end(name)
        return part.next()


class Turns:
    """The free threads, and the turns that wait for one. Turns of one account come in the order they were asked for."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._waiting = _Line()

    def ask(self, turn: Turn) -> None:
        """Wait for `turn` afterwards in any case: it may have a thread at once."""
        if self._free:
            self._free -= 1
            turn.place.set_result(True)
        else:
            self._waiting.add(turn, turn.path)

    async def wait(self, turn: Turn) -> bool:
        """Wait for a thread, which must be given back; False if there is none. Safe to cancel."""
        try:
            return await turn.place
        except asyncio.CancelledError:
            if turn.place.cancelled():
                self._waiting.remove(turn, turn.path)
            elif turn.place.result():
                self.give_back()
            raise

    def take_away(self, turn: Turn) -> None:
        """Nothing where it has come already, or has been given up."""
        if not turn.place.done():
            turn.place.set_result(False)
            self._waiting.remove(turn, turn.path)

    def give_back(self) -> None:
        """A thread is free: it is the next one's turn."""
        while self._waiting:
            turn = self._waiting.next()
            self._waiting.remove(turn, turn.path)
            if not turn.place.done():  # else it is just being given up
                turn.place.set_result(True)
                return
        self._free += 1
