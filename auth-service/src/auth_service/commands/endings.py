"""Ends sessions for an operator."""

from auth_service.backends.endings import PostgresEndedSessions
from auth_service.commands.output import run
from auth_service.core.endings import Ended, EndedBy, Endings, Reason


def end(sessions: Ended, reason: Reason) -> int | None:
    """End sessions; returns their number, or None if they are not counted."""
    return run(
        lambda database, _keyring, _: Endings(PostgresEndedSessions(database)).end(sessions, EndedBy.OPERATOR, reason)
    )
