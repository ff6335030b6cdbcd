"""Turns at the hashing threads: round robin over wide networks, over the networks in each, and over accounts there."""

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
    """Waiting turns: the parts of the line take turns; in a line without parts, the first one is next."""

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
        """Remove a turn if it waits here."""
        if not path:
            self._turns.pop(turn, None)
        elif path[0] in self._parts:
            self._parts[path[0]].remove(turn, path[1:])
            if not self._parts[path[0]]:
                del self._parts[path[0]]

    def next(self) -> Turn:
        """The next turn; the parts that it comes from move to the end of their lines."""
        if not self._parts:
            return next(iter(self._turns))
        name, part = next(iter(self._parts.items()))
        self._parts.move_to_end(name)
        return part.next()


class Turns:
    """The free threads, and the turns that wait for one. Turns of one account come in the order of asking."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._waiting = _Line()

    def ask(self, turn: Turn) -> None:
        """Ask for a thread, which `turn` may get at once; `wait` must be called afterwards in either case."""
        if self._free:
            self._free -= 1
            turn.place.set_result(True)
        else:
            self._waiting.add(turn, turn.path)

    async def wait(self, turn: Turn) -> bool:
        """Wait for a thread, which must be given back; False if the turn was taken away. Safe to cancel."""
        try:
            return await turn.place
        except asyncio.CancelledError:
            if turn.place.cancelled():
                self._waiting.remove(turn, turn.path)
            elif turn.place.result():
                self.give_back()
            raise

    def take_away(self, turn: Turn) -> None:
        """Take a turn away, unless it has come already or has been given up."""
        if not turn.place.done():
            turn.place.set_result(False)
            self._waiting.remove(turn, turn.path)

    def give_back(self) -> None:
        """Give a thread back, to the next turn if one waits."""
        while self._waiting:
            turn = self._waiting.next()
            self._waiting.remove(turn, turn.path)
            if not turn.place.done():  # otherwise it is just being given up
                turn.place.set_result(True)
                return
        self._free += 1
