"""The budgets behind the port `Throttle`: which guesses are counted together, and their limits."""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from auth_service.core.errors import TooManyRequestsError
from servicekit.bounded import BoundedMap
from servicekit.throttling.budgets import GuessBudgets, Window
from servicekit.throttling.networks import network_of
from servicekit.throttling.rate_limiter import Admission, RateLimiter, ThrottledError
from servicekit.throttling.redis_budgets import RedisBudgets

LOGINS = "login"  # the kind of guess
_ENTRIES = 10_000
_NOTED_FOR = 3600.0

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class Budgets:
    """The limits from the settings."""

    logins: GuessBudgets
    secrets: GuessBudgets
    refused_refreshes: Window
    inactive_tokens: Window


class GuessThrottle:
    """Implements the port `Throttle`. `key` digests account names: an unknown account's name is what somebody typed."""

    def __init__(self, limiter: RateLimiter, budgets: Budgets, key: bytes) -> None:
        self._limiter = limiter
        self._budgets = budgets
        self._key = key
        self._proved = _Lately()
        self._suspected = _Lately()

    async def admit_login(self, accounts: Sequence[str], client_id: str, address: str) -> Admission:
        first, *others = (_digest(self._key, account) for account in accounts)
        admit = self._limiter.admit(self._budgets.logins, first, address, also_at=others, client_id=client_id)
        return await _refusing(admit)

    async def admit_secret(self, client_id: str, address: str, *, right: bool) -> Admission:
        """A right secret is not counted if it was right within the hour and no wrong one has been seen lately.

        The secret is always compared first, which is cheap; Redis is asked only if there may be guessing.
        """
        place = f"{client_id} {network_of(address)}"
        if right and place in self._proved and client_id not in self._suspected:
            return Admission()
        budgets = self._budgets.secrets
        if not right:
            self._suspected.note(client_id, budgets.pair.seconds)
        admission = await _refusing(self._limiter.admit(budgets, client_id, address, client_id=client_id))
        if right:
            self._proved.note(place, _NOTED_FOR)
        return admission

    async def count_refused_refresh(self, client_id: str, address: str) -> None:
        window = self._budgets.refused_refreshes
        await _refusing(self._limiter.charge_network("refused refresh", window, address, client_id=client_id))

    async def count_inactive_token(self, client_id: str, address: str) -> None:
        window = self._budgets.inactive_tokens
        await _refusing(self._limiter.charge("inactive token", client_id, window, address, client_id=client_id))


async def clear_logins(shared: RedisBudgets, key: bytes, accounts: Iterable[str]) -> bool:
    """Clear the counts of these accounts. Returns False if there were none. Raises `BudgetsAwayError`."""
    cleared = False
    for account in accounts:
        digest = _digest(key, account)
        if await shared.clear(LOGINS, digest):
            log.warning("throttle cleared", account=digest)
            cleared = True
    return cleared


def _digest(key: bytes, account: str) -> str:
    """The name of an account in Redis and in the log."""
    return hmac.digest(key, account.encode(), hashlib.sha256).hex()[:32]


async def _refusing(call: Awaitable[T]) -> T:
    try:
        return await call
    except ThrottledError as error:
        raise TooManyRequestsError(error.retry_after) from None


class _Lately:
    """A bounded set whose members expire."""

    def __init__(self) -> None:
        self._ends: BoundedMap[str, float] = BoundedMap(_ENTRIES)

    def __contains__(self, member: str) -> bool:
        return self._ends.get(member, 0.0) > time.monotonic()

    def note(self, member: str, seconds: float) -> None:
        self._ends[member] = time.monotonic() + seconds
