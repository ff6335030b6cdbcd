"""`restored`: run once after restoring a backup."""

import typer

from auth_service.commands.endings import end
from auth_service.core.endings import EverySession, Reason


def restored() -> None:
    """End every session because this database, or user-service's, was restored from a backup.

    The backup does not know which sessions were ended after it was made. Running this again only ends sessions again.
    """
    end(EverySession(restored=True), Reason.RESTORED)
    typer.echo("every session ended, and clients are read again; check what was changed since the backup")
