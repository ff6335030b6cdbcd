"""Access tokens that are accepted only if their digest is found among those issued.

The digests are partitioned by the day on which they may be dropped. The token carries that day (masked), so that only
one partition is searched.
"""

import hashlib
from dataclasses import dataclass

from auth_service.core.model import ActiveToken, StoredToken
from auth_service.core.ports import Sessions

_DAY = 86400


@dataclass(frozen=True, slots=True)
class StoredReference:
    """A reference to a token that is looked up by its digest."""

    stored: StoredToken
    kid: None = None

    async def active(self, sessions: Sessions) -> ActiveToken | None:
        return await sessions.active_by_token(self.stored)


def drop_day(expires_at: float) -> int:
    """The day after a token expires: replicas' clocks differ, and an expired token should be reported as expired."""
    return int(expires_at // _DAY) + 1


def with_day(random_part: bytes, day: int) -> bytes:
    """The random bytes, followed by two that hold the masked day."""
    return random_part + (day ^ _mask(random_part)).to_bytes(2, "big")


def stored_token(token: str, raw: bytes) -> StoredToken:
    """The digest of a token, and the day that its bytes `raw` carry."""
    day = int.from_bytes(raw[-2:], "big") ^ _mask(raw[:-2])
    return StoredToken(hashlib.sha256(token.encode()).digest(), day)


def _mask(random_part: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"drop day" + random_part).digest()[:2], "big")
