"""The shares of the hash queue that networks and accounts hold, and the order in which they have to make room."""

from collections.abc import Sequence

from servicekit.throttling.networks import wide_network_of
from user_service.hash_turns import Turn


class Admission:
    """Room for `hashes` that have not been started, and its holders.

    `accounts` names the account of the password: first the name that was typed, then also the id of its user.
    """

    def __init__(self, network: str, account: str, hashes: int) -> None:
        self.network = network
        self.accounts = [account]
        self.hashes = hashes
        self.turn: Turn | None = None
        self.pushed_out = False

    @property
    def account(self) -> str:
        return self.accounts[-1]

    @property
    def path(self) -> tuple[str, str, str]:
        """The admission's place among all: the wide network, the network in it, and the account there.

        If the network is not an address, it is its own wide network.
        """
        address, slash, _ = self.network.partition("/")
        return wide_network_of(address) if slash else self.network, self.network, self.account

    def identify(self, account: str) -> None:
        """Add the account that the password belongs to, unless it is known already."""
        if account not in self.accounts:
            self.accounts.append(account)


class Holding:
    """The hashes that wait, their admissions (oldest first), and the holding of each part inside this one."""

    def __init__(self) -> None:
        self.hashes = 0
        self.admissions: dict[Admission, None] = {}
        self.parts: dict[str, Holding] = {}

    def part(self, name: str) -> "Holding":
        """The holding of the part with this name; an empty one if there is no such part."""
        return self.parts.get(name) or Holding()

    def add(self, admission: Admission, path: Sequence[str]) -> None:
        self.admissions[admission] = None
        self.hashes += admission.hashes
        if path:
            self.parts.setdefault(path[0], Holding()).add(admission, path[1:])

    def remove(self, admission: Admission, path: Sequence[str]) -> None:
        del self.admissions[admission]
        self.hashes -= admission.hashes
        if path:
            self.parts[path[0]].remove(admission, path[1:])
            if not self.parts[path[0]].admissions:
                del self.parts[path[0]]

    def start(self, path: Sequence[str]) -> None:
        """Note that one hash of an admission on `path` no longer waits."""
        self.hashes -= 1
        if path:
            self.parts[path[0]].start(path[1:])

    def one_to_push_out(self, path: Sequence[str], hashes: int) -> Admission | None:
        """An admission of the part that holds most, if that is more than the part on `path` with `hashes` more.

        If the part on the path itself holds most, the same applies to the parts inside it. None if there is none.
        """
        if not path or not self.parts:
            return None
        heaviest = self.heaviest_part()
        own = self.part(path[0])
        if heaviest is not own and heaviest.hashes > own.hashes + hashes:
            return heaviest.newest_of_heaviest()
        return own.one_to_push_out(path[1:], hashes)

    def newest_of_heaviest(self) -> Admission:
        """The newest admission of the heaviest account in the heaviest network."""
        return self.heaviest_part().newest_of_heaviest() if self.parts else next(reversed(self.admissions))

    def heaviest_part(self) -> "Holding":
        return max(self.parts.values(), key=lambda part: part.hashes)


# A holding that is too large, and the path inside it to the part that would grow.
Excess = tuple[Holding, Sequence[str]]


class Shares:
    """All admissions with hashes that have not been started: by wide network, network and account; and by account."""

    def __init__(self) -> None:
        self._all = Holding()
        self._accounts: dict[str, Holding] = {}

    @property
    def hashes(self) -> int:
        return self._all.hashes

    def add(self, admission: Admission) -> None:
        self._all.add(admission, admission.path)
        for account in admission.accounts:
            self._accounts.setdefault(account, Holding()).add(admission, (admission.network,))

    def remove(self, admission: Admission) -> None:
        """Remove an admission, unless it was removed before."""
        if admission not in self._all.admissions:
            return
        self._all.remove(admission, admission.path)
        for account in admission.accounts:
            self._accounts[account].remove(admission, (admission.network,))
            if not self._accounts[account].admissions:
                del self._accounts[account]

    def start(self, admission: Admission) -> None:
        """Note that one of the admission's hashes is started and no longer waits."""
        self._all.start(admission.path)
        for account in admission.accounts:
            self._accounts[account].start((admission.network,))
        admission.hashes -= 1
        if not admission.hashes:
            self.remove(admission)

    def turn(self, admission: Admission) -> int:
        """The number of the turn in which the admission's first hash would come; 1 if nobody else waits."""
        wide, network, account = admission.path
        within_wide = self._all.part(wide)
        within = within_wide.part(network)
        turn = within.part(account).hashes + 1
        for holding, name in ((within, account), (within_wide, network), (self._all, wide)):
            turn += sum(min(other.hashes, turn) for part, other in holding.parts.items() if part != name)
        return turn

    def account_in_excess(self, admission: Admission, share: int, *, alone: bool) -> Excess | None:
        """An account of the admission that would hold more than `share` with it while others wait, or `alone`."""
        held = (self._accounts.get(account, Holding()) for account in admission.accounts)
        found = (holding for holding in held if self._exceeds(holding, admission, share, alone))
        return next(((holding, (admission.network,)) for holding in found), None)

    def in_excess(self, admission: Admission, share: int, *, alone: bool) -> Excess | None:
        """The admission's account, network or wide network that would hold too much, as in `account_in_excess`."""
        wide, network, account = admission.path
        if excess := self.account_in_excess(admission, share, alone=alone):
            return excess
        within = self._all.part(wide)
        if self._exceeds(within.part(network), admission, share, alone):
            return within.part(network), (account,)
        return (within, (network, account)) if self._exceeds(within, admission, share, alone) else None

    def one_to_push_out(self, admission: Admission) -> Admission | None:
        """The newest admission of the heaviest holder: a wide network, else a network, else an account anywhere.

        None if that holder has no more than the holders of `admission` would have with it.
        """
        found = self._all.one_to_push_out(admission.path, admission.hashes)
        if found is not None or not self._accounts:
            return found
        heaviest = max(self._accounts.values(), key=lambda holding: holding.hashes)
        own = max(self._accounts.get(account, Holding()).hashes for account in admission.accounts)
        return heaviest.newest_of_heaviest() if heaviest.hashes > own + admission.hashes else None

    def _exceeds(self, holding: Holding, admission: Admission, share: int, alone: bool) -> bool:
        return holding.hashes + admission.hashes > share and (alone or self.hashes > holding.hashes)
