"""`restored`: run once after a backup was restored."""

import typer

from auth_service.commands.endings import end
from auth_service.core.endings import EverySession, Reason


def restored() -> None:
    """Say that this database, or user-service's, was restored from a backup: every session ends.

    The backup does not know which of them were ended since it was made. Any number of times does no harm but that.
    """
    end(EverySession(restored=True), Reason.RESTORED)
    typer.echo("every session ended, and clients are read anew; look at what was changed since the backup")
