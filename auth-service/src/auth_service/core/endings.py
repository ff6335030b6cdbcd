"""The one verb that ends sessions; it says who ended them and why.

Some sessions end with something else that is done, in the same statement: those that are too many for a user end when
another is opened (`backends/endings.py`), a session whose refresh token was reused ends in the rotation
(`backends/rotation.py`), and while a client is disabled or after it was removed none of its sessions is live
(`backends/clients.py`).
"""

import logging
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

from auth_service.core.model import session_name

log = logging.getLogger(__name__)


class EndedBy(StrEnum):
    """The party that ends sessions."""

    CLIENT = "client"
    USER = "user"
    USER_SERVICE = "user-service"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Selection:
    """The sessions that match all the given ids. Raises ValueError if none is given: it would be every session."""

    session_id: int | None = None
    user_id: int | None = None
    client_id: str | None = None

    def __post_init__(self) -> None:
        if self.session_id is None and self.user_id is None and self.client_id is None:
            raise ValueError("a selection of sessions needs an id")


@dataclass(frozen=True, slots=True)
class EarlierEpochs:
    """The sessions that a user opened before `epoch`, except the one that is kept."""

    user_id: int
    epoch: int
    kept_session_id: int | None = None


@dataclass(frozen=True, slots=True)
class EverySession:
    """All sessions; `restored` is true if this database, or user-service's, was restored from a backup."""

    restored: bool = False


Ended = Selection | EarlierEpochs | EverySession


class Reason(StrEnum):
    """The reason why sessions end."""

    TOKEN_REVOKED = "token revoked"
    SIGNED_OUT = "signed out"
    USER_CHANGED = "user changed"
    COMMAND = "command"
    RESTORED = "restored"


class EndedSessions(Protocol):
    """The part of the session store that ends sessions."""

    async def end(self, sessions: Ended) -> int | None:
        """End sessions; returns their number, or None if they are not counted. Raises UnavailableError."""


class Endings:
    """Ends sessions, and with each of them all its tokens."""

    def __init__(self, store: EndedSessions) -> None:
        self._store = store

    async def end(self, sessions: Ended, by: EndedBy, reason: Reason) -> int | None:
        """End live sessions; returns their number, or None if they are not counted. Raises UnavailableError."""
        number = await self._store.end(sessions)
        if number != 0:
            named = {name: value for name, value in asdict(sessions).items() if value is not None}
            for name in named.keys() & {"session_id", "kept_session_id"}:
                named[name] = session_name(named[name])
            log.info("sessions ended", extra=named | {"by": by.value, "reason": reason.value, "sessions": number})
        return number
