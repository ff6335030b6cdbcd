"""`restored`: what has to be said once after a backup was restored."""

import typer

from auth_service.backends.session_admin import note_restored
from auth_service.commands.output import run


def restored() -> None:
    """Say that this database, or user-service's, was restored from a backup: every session ends.

    The backup does not know which of them were ended since it was made. Any number of times does no harm but that.
    """
    run(lambda database, _keyring, _: note_restored(database))
    typer.echo("every session ended, and clients are read anew; look at what was changed since the backup")
