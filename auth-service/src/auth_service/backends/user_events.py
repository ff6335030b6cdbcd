"""Applies the events of user-service's outbox, which end users' sessions. Applying one again changes nothing."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from auth_service.backends.user_service import UserEvent, UserService
from auth_service.core.endings import EarlierEpochs, EndedBy, Endings, Reason
from auth_service.core.errors import UnavailableError
from servicekit.pauses import pause
from servicekit.postgres import Database

log = structlog.get_logger()

WAIT = 25
LATE = 1.0  # seconds without a sign from the outbox
# If both services are started together, user-service is ready within this many seconds.
_STARTS_WITHIN = 15.0
# Events that are not applied within this many seconds are read again: newer ones may have been applied meanwhile.
_APPLY_WITHIN = 5.0
_PAUSE_AFTER_FAILURE = 0.5
_LOOK_EVERY = 0.2

CHANGE_EMAIL = """
    UPDATE sessions SET email = $2
    WHERE user_id = $1 AND revoked_at IS NULL AND email IS NOT NULL AND before_deadline($3)
"""


class Pulse:
    """The time of the last sign from user-service's outbox: an answer, or the sign that there is no event yet."""

    def __init__(self) -> None:
        self._heard_at = self._began_at = time.monotonic()
        self.stuck = False  # events have arrived but cannot be applied

    def beat(self) -> None:
        self._heard_at = time.monotonic()

    @property
    def late(self) -> bool:
        """True if there may be events that have not been applied."""
        return self.stuck or time.monotonic() - self._heard_at > LATE

    @property
    def starting(self) -> bool:
        """True if user-service has not been heard from yet, which is no fault so far: it may be starting, too."""
        return self._heard_at == self._began_at and time.monotonic() - self._began_at < _STARTS_WITHIN

    def warnings(self) -> list[str]:
        """The warnings for an operator, a short phrase each."""
        return ["user events are late"] if self.late else []


async def say_when_late(pulse: Pulse) -> None:
    """Log when events become late, and when they flow again, forever."""
    late = False
    while True:
        await pause(_LOOK_EVERY)
        if pulse.starting:
            continue
        if pulse.late and not late:
            log.warning("user events are late")
        elif late and not pulse.late:
            log.info("user events flow again")
        late = pulse.late


async def catch_up(users: UserService, database: Database, endings: Endings) -> None:
    """Apply the events from before this service started, before the first token is verified; give up after two seconds.

    user-service may be down, or may itself be waiting for this service's keys.
    """
    try:
        async with asyncio.timeout(2):
            while events := await users.events(0):
                await users.acknowledge(await apply(events, database, endings))
    except (TimeoutError, UnavailableError) as error:
        log.info("waiting for user-service", cause=str(error))


async def follow_user_events(users: UserService, database: Database, endings: Endings, pulse: Pulse) -> None:
    """Read events from user-service's outbox, apply and acknowledge them, forever."""
    while True:
        try:
            events = await users.events(WAIT, pulse.beat)
            if events:
                async with asyncio.timeout(_APPLY_WITHIN):
                    applied = await apply(events, database, endings)
                pulse.stuck = len(applied) < len(events)
                await users.acknowledge(applied)
                await pause(_PAUSE_AFTER_FAILURE if pulse.stuck else 0)
        except UnavailableError as error:
            if not pulse.starting:
                log.warning("user events not read", cause=str(error))
            await pause(_PAUSE_AFTER_FAILURE)
        except Exception:
            log.exception("user events not applied")
            await pause(_PAUSE_AFTER_FAILURE)


async def apply(events: Sequence[UserEvent], database: Database, endings: Endings) -> list[UserEvent]:
    """Apply events in order and return those that were applied; applying an event again changes nothing.

    If an event cannot be applied, for example because a row is locked, only the same user's later events have to wait.
    """
    applied: list[UserEvent] = []
    stuck: set[int] = set()
    for event in events:
        if event.user_id in stuck:
            continue
        try:
            await _apply(event, database, endings)
        except UnavailableError as error:
            log.warning("user event not applied", user_id=event.user_id, cause=str(error))
            stuck.add(event.user_id)
        else:
            applied.append(event)
    return applied


async def _apply(event: UserEvent, database: Database, endings: Endings) -> None:
    if event.type == "sessions_ended":
        earlier = EarlierEpochs(event.user_id, event.epoch, _session_id(event.keep_session))
        await endings.end(earlier, EndedBy.USER_SERVICE, Reason.USER_CHANGED)
    elif event.type == "email_changed":
        await database.write(CHANGE_EMAIL, event.user_id, event.email)
    log.info("user event applied", type=event.type, user_id=event.user_id, epoch=event.epoch)


def _session_id(name: str | None) -> int | None:
    return int(name, 16) if name else None
