"""`sessions …`: live sessions."""

from typing import Annotated, Any

import typer

from auth_service.backends.session_admin import end_sessions, live_sessions
from auth_service.commands.output import Json, fail, run, show
from auth_service.core.model import session_name

app = typer.Typer(no_args_is_help=True, help="Live sessions.")

UserId = Annotated[int | None, typer.Option("--user", help="Sessions of this user id.")]
ClientId = Annotated[str | None, typer.Option("--client", help="Sessions of this client.")]


@app.command("list")
def list_sessions(
    user: UserId = None,
    client: ClientId = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at the most.")] = 100,
    as_json: Json = False,
) -> None:
    """Live sessions, the newest first."""
    rows = run(lambda database, _keyring, _: live_sessions(database, user, client, limit))
    named: list[dict[str, Any]] = [{**row, "id": session_name(row["id"])} for row in rows]
    show(named, ("id", "user_id", "client_id", "scope", "created_at", "rotated_at", "expires_at"), as_json)


@app.command()
def revoke(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION_ID]")] = None,
    user: UserId = None,
    client: ClientId = None,
) -> None:
    """End one session, or all of a user or of a client: its tokens are refused from now on."""
    if session is None and user is None and client is None:
        raise fail("name a session, a user or a client")
    try:
        session_id = int(session, 16) if session is not None else None
    except ValueError:
        raise fail("a session id is 16 hex digits") from None
    ended = run(lambda database, _keyring, _: end_sessions(database, session_id, user, client))
    typer.echo(f"{ended} sessions ended")
