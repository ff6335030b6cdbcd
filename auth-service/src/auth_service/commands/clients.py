"""`clients …`: registrations. A client can be registered with the id and secret that it has in an existing system."""

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from auth_service.app import DIALECTS
from auth_service.backends.clients import ClientExistsError, PostgresClients, Registration, new_secret
from auth_service.commands.output import Json, fail, print_json, run, show
from auth_service.commands.registrations import RULES, Given, given_secret, warn_of_short
from auth_service.core.model import Client
from servicekit.command_line import command_group

app = command_group("Client registrations.")

COLUMNS = (
    "client_id",
    "dialect",
    "public",
    "disabled",
    "grant_types",
    "grant_types_without_secret",
    "scope",
    "default_scope",
    "access_token_lifetime",
    "idle_lifetime",
    "session_lifetime",
    "default_for",
    "former_secret_until",
)
_NO_SUCH_CLIENT = "there is no such client"
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST_OVERLAP = timedelta(days=30)


def _overlap(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    overlap = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if overlap is None or overlap > _LONGEST_OVERLAP:
        raise typer.BadParameter("must be a number followed by s, m, h or d, such as 24h, and at most 30d")
    return overlap


ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID")]
Secret = Annotated[
    str | None,
    typer.Option(help="For samples only: while a command runs, every process on the machine can read its options."),
]
SecretStdin = Annotated[
    bool, typer.Option("--secret-stdin", help="Read the secret from the first line of standard input.")
]
GrantType = Annotated[list[str] | None, typer.Option(help="May be given more than once.")]
SecretOptionalFor = Annotated[
    list[str] | None, typer.Option(metavar="GRANT_TYPE", help="A grant type that needs no client authentication.")
]
Scope = Annotated[str | None, typer.Option(help="The scope that it may request.")]
DefaultScope = Annotated[str | None, typer.Option(help="The scope that it gets if it requests none.")]
DefaultFor = Annotated[str | None, typer.Option(metavar="PATH", help="Serves requests to PATH that name no client.")]
Lifetime = Annotated[int | None, typer.Option(min=1, max=2**31 - 1, metavar="SECONDS")]


@app.command()
def add(
    client_id: Annotated[str | None, typer.Argument(metavar="CLIENT_ID")] = None,
    dialect: Annotated[str | None, typer.Option(help=f"Required: {', '.join(DIALECTS)}.")] = None,
    secret: Secret = None,
    secret_stdin: SecretStdin = False,
    public: Annotated[bool, typer.Option("--public", help="The client has no secret.")] = False,
    grant_type: GrantType = None,
    secret_optional_for: SecretOptionalFor = None,
    scope: Scope = None,
    default_scope: DefaultScope = None,
    default_for: DefaultFor = None,
    access_token_lifetime: Lifetime = None,
    idle_lifetime: Lifetime = None,
    session_lifetime: Lifetime = None,
    as_json: Json = False,
) -> None:
    """Register a client. Omitted options take the dialect's defaults. A generated secret is printed only this once."""
    lifetimes = access_token_lifetime, idle_lifetime, session_lifetime
    given = Given(grant_type, secret_optional_for, scope, default_scope, default_for, *lifetimes)
    own = given_secret(secret, secret_stdin)
    faults = [
        *RULES.faults_of_new(client_id, dialect),
        *given.faults(),
        *RULES.faults_of_secret(own, dialect, public=public),
    ]
    if client_id is None or dialect is None or dialect not in DIALECTS:
        raise fail("; ".join(faults))
    client = given.new(client_id, dialect)
    _refuse([*faults, *RULES.contradictions(client, public=public)])
    chosen = None if public else own or new_secret()
    registration = _registration(client, chosen)
    try:
        run(lambda database, keyring, _: PostgresClients(database, keyring).add(registration))
    except ClientExistsError as error:
        raise fail(str(error)) from None
    _tell_secret(client_id, chosen, own, as_json)


@app.command()
def update(
    client_id: ClientId,
    secret: Secret = None,
    secret_stdin: SecretStdin = False,
    public: Annotated[
        bool | None,
        typer.Option(
            "--public/--confidential", help="Remove its secret, or require one: a public client then gets one."
        ),
    ] = None,
    grant_type: GrantType = None,
    secret_optional_for: SecretOptionalFor = None,
    scope: Scope = None,
    default_scope: DefaultScope = None,
    default_for: DefaultFor = None,
    access_token_lifetime: Lifetime = None,
    idle_lifetime: Lifetime = None,
    session_lifetime: Lifetime = None,
    as_json: Json = False,
) -> None:
    """Change a registration at once. Omitted options keep their values; an empty value clears a scope, path or list.

    The dialect cannot be changed, since existing tokens are in it: remove the client and add it again.
    """
    lifetimes = access_token_lifetime, idle_lifetime, session_lifetime
    given = Given(grant_type, secret_optional_for, scope, default_scope, default_for, *lifetimes)
    own = given_secret(secret, secret_stdin)
    if given.nothing and own is None and public is None:
        raise fail("nothing to change: `clients update --help` lists the options")

    async def work(database: Any, keyring: Any, _settings: Any) -> str | None:
        clients = PostgresClients(database, keyring)
        present = await clients.fresh(client_id)
        if present is None:
            raise fail(_NO_SUCH_CLIENT)
        client, becomes_public = given.applied_to(present), _becomes_public(present, public, own)
        _refuse(
            [
                *given.faults(),
                *RULES.faults_of_secret(own, client.dialect, public=becomes_public),
                *RULES.contradictions(client, public=becomes_public),
            ]
        )
        chosen = own or (new_secret() if present.public and not becomes_public else None)
        registration = _registration(client, chosen)
        another = chosen is not None or (becomes_public and not present.public)
        if not await clients.update(registration, another_secret=another):
            raise fail("the client was changed at the same time: run the command again")
        return chosen

    try:
        chosen = run(work)
    except ClientExistsError as error:
        raise fail(str(error)) from None
    if chosen is not None:
        _tell_secret(client_id, chosen, own, as_json)
    else:
        _show(client_id, as_json)


def _becomes_public(present: Client, public: bool | None, secret: str | None) -> bool:
    return public if public is not None else present.public and secret is None


def _registration(client: Client, secret: str | None) -> Registration:
    return Registration(client, secret, DIALECTS[client.dialect].formats.access_token.needs_secret)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise fail("; ".join(faults))


def _tell_secret(client_id: str, chosen: str | None, own: str | None, as_json: bool) -> None:
    """Print a generated secret; a given one is not printed, but warn if it is short."""
    made = chosen if own is None else None
    if as_json:
        print_json({"client_id": client_id, "client_secret": made})
    else:
        words = made or ("(as given)" if own is not None else "(none: a public client)")
        typer.echo(f"client_id:     {client_id}\nclient_secret: {words}")
    warn_of_short(own)


def _rows(client_id: str | None) -> list[dict[str, Any]]:
    rows = run(lambda database, keyring, _: PostgresClients(database, keyring).all())
    return [
        {**row, "public": row["secret_digest"] is None, "disabled": row["disabled_at"] is not None}
        for row in rows
        if client_id is None or row["client_id"] == client_id
    ]


@app.command("list")
def list_clients(as_json: Json = False) -> None:
    """List all registrations."""
    show(_rows(None), COLUMNS if as_json else COLUMNS[:5], as_json)


@app.command("show")
def show_client(client_id: ClientId, as_json: Json = False) -> None:
    """Show one registration in full, without its secret, and until when its former secret is accepted."""
    _show(client_id, as_json)


def _show(client_id: str, as_json: bool) -> None:
    rows = _rows(client_id)
    if not rows:
        raise fail(_NO_SUCH_CLIENT)
    if as_json:
        print_json({column: rows[0][column] for column in COLUMNS})
    else:
        show([{"": column.replace("_", " "), "value": rows[0][column]} for column in COLUMNS], ("", "value"), False)


@app.command("rotate-secret")
def rotate_secret(
    client_id: ClientId,
    secret: Secret = None,
    secret_stdin: SecretStdin = False,
    overlap: Annotated[
        timedelta | None,
        typer.Option(
            parser=_overlap, metavar="DURATION", help="Accept the old secret as well for this long, such as 24h."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a client a new secret, a random one by default. Tokens remain valid.

    The old secret is refused from now on, or when the overlap is over.
    A secret that was replaced earlier is refused from now on in either case.
    """
    own = given_secret(secret, secret_stdin)
    chosen = own if own is not None else new_secret()

    async def work(database: Any, keyring: Any, _settings: Any) -> bool:
        clients = PostgresClients(database, keyring)
        client = await clients.fresh(client_id)
        if client is None:
            return False
        _refuse(RULES.faults_of_secret(own, client.dialect, public=False))
        return await clients.rotate_secret(client, chosen, overlap)

    if not run(work):
        raise fail("there is no such confidential client")
    _tell_secret(client_id, chosen, own, as_json)


@app.command()
def disable(client_id: ClientId) -> None:
    """Refuse a client and all its tokens from now on."""
    _set_disabled(client_id, True)


@app.command()
def enable(client_id: ClientId) -> None:
    """Accept a disabled client again, and those of its tokens that have not expired."""
    _set_disabled(client_id, False)


def _set_disabled(client_id: str, disabled: bool) -> None:
    if not run(lambda database, keyring, _: PostgresClients(database, keyring).set_disabled(client_id, disabled)):
        raise fail(_NO_SUCH_CLIENT)
    typer.echo(f"{client_id} is {'disabled' if disabled else 'enabled'}")


@app.command()
def remove(
    client_id: ClientId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a registration: the client is refused from now on, and its sessions and tokens end for good."""
    if not yes:
        typer.confirm(f"Remove {client_id}, and end all its sessions?", abort=True, err=True)
    if not run(lambda database, keyring, _: PostgresClients(database, keyring).remove(client_id)):
        raise fail(_NO_SUCH_CLIENT)
    typer.echo(f"{client_id} is removed")
