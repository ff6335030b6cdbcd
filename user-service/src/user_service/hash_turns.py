"""Turns at the hashing threads: round robin over networks, and within each of them over accounts."""

import asyncio
from collections import OrderedDict


class Turn:
    """Waits for a thread: `place` becomes True when one is free, and False when the turn is taken away."""

    def __init__(self, network: str, account: str) -> None:
        self.network = network
        self.account = account
        self.place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Turns:
    """So many threads, and the turns of those who find none free. One account's turns come in order."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._waiting: OrderedDict[str, OrderedDict[str, dict[Turn, None]]] = OrderedDict()

    def ask(self, turn: Turn) -> None:
        """Wait for `turn` afterwards in any case: it may have a thread at once."""
        if self._free:
            self._free -= 1
            turn.place.set_result(True)
        else:
            self._waiting.setdefault(turn.network, OrderedDict()).setdefault(turn.account, {})[turn] = None

    async def wait(self, turn: Turn) -> bool:
        """Whether there is a thread now, which must be given back. Safe to cancel."""
        try:
            return await turn.place
        except asyncio.CancelledError:
            if turn.place.cancelled():
                self._forget(turn)
            elif turn.place.result():
                self.give_back()
            raise

    def take_away(self, turn: Turn) -> None:
        """Nothing where it has come already, or has been given up."""
        if not turn.place.done():
            turn.place.set_result(False)
            self._forget(turn)

    def give_back(self) -> None:
        """A thread is free: it is the next one's turn."""
        while self._waiting:
            turn = self._next()
            if not turn.place.done():  # else it is just being given up
                turn.place.set_result(True)
                return
        self._free += 1

    def _next(self) -> Turn:
        """The first turn; its account and its network come last from now on."""
        network, accounts = next(iter(self._waiting.items()))
        account, turns = next(iter(accounts.items()))
        turn = next(iter(turns))
        self._waiting.move_to_end(network)
        accounts.move_to_end(account)
        self._forget(turn)
        return turn

    def _forget(self, turn: Turn) -> None:
        accounts = self._waiting.get(turn.network, OrderedDict())
        turns = accounts.get(turn.account, {})
        turns.pop(turn, None)
        if not turns:
            accounts.pop(turn.account, None)
        if not accounts:
            self._waiting.pop(turn.network, None)
