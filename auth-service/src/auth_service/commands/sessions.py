"""`sessions …`: live sessions."""

import re
from typing import Annotated, Any

import typer

from auth_service.backends.session_list import live_sessions
from auth_service.commands.endings import end
from auth_service.commands.output import Json, fail, run, show
from auth_service.core.endings import EverySession, Reason, Selection
from auth_service.core.model import session_name
from servicekit.command_line import command_group

_SESSION_NAME = re.compile(r"[0-7][0-9a-f]{15}")  # it has 63 bits

app = command_group("Live sessions.")

UserId = Annotated[int | None, typer.Option("--user", min=0, max=2**63 - 1, help="Sessions of this user id.")]
ClientId = Annotated[str | None, typer.Option("--client", help="Sessions of this client.")]


@app.command("list")
def list_sessions(
    user: UserId = None,
    client: ClientId = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The maximum number of rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List live sessions, newest first."""
    rows = run(lambda database, _keyring, _: live_sessions(database, user, client, limit))
    named: list[dict[str, Any]] = [{**row, "id": session_name(row["id"])} for row in rows]
    show(named, ("id", "user_id", "client_id", "scope", "created_at", "rotated_at", "expires_at"), as_json)


@app.command()
def revoke(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION_ID]")] = None,
    user: UserId = None,
    client: ClientId = None,
    everything: Annotated[bool, typer.Option("--all", help="Every session.")] = False,
) -> None:
    """End one session, all sessions of a user or client, or every session. Their tokens are refused from now on."""
    if everything:
        _revoke_all(session, user, client)
        return
    if session is None and user is None and client is None:
        raise fail("name a session, a user or a client, or use --all")
    if session is not None and not _SESSION_NAME.fullmatch(session):
        raise fail("a session id is 16 hex digits")
    session_id = int(session, 16) if session is not None else None
    ended = end(Selection(session_id, user, client), Reason.COMMAND)
    typer.echo(f"{ended} sessions ended")


def _revoke_all(*named: object) -> None:
    if named != (None, None, None):
        raise fail("--all excludes other selections")
    end(EverySession(), Reason.COMMAND)
    typer.echo("every session ended")
