"""`clients …`: registrations. A client can be registered with the id and secret that it has in an existing system."""

import re
from typing import Annotated, Any

import typer

from auth_service.app import DIALECTS
from auth_service.backends.clients import ClientExistsError, PostgresClients, Registration, new_secret
from auth_service.commands.output import Json, fail, print_json, run, show
from auth_service.core import scope as scopes
from auth_service.core.errors import InvalidScopeError
from auth_service.core.model import Client
from auth_service.dialects.endpoint import PATHS

app = typer.Typer(no_args_is_help=True, help="Client registrations.")

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
)
_VISIBLE = re.compile(r"[\x20-\x7e]+")
_GRANT_TYPES = ("client_credentials", "password", "refresh_token")

ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID")]
Lifetime = Annotated[int | None, typer.Option(min=1, max=2**31 - 1, metavar="SECONDS")]


@app.command()
def add(
    client_id: ClientId,
    dialect: Annotated[str, typer.Option(help=", ".join(DIALECTS))],
    secret: Annotated[str | None, typer.Option(help="Its secret in an existing system; default: a new one.")] = None,
    public: Annotated[bool, typer.Option("--public", help="It has no secret.")] = False,
    grant_type: Annotated[list[str] | None, typer.Option(help="May be given again; default: the dialect's.")] = None,
    secret_optional_for: Annotated[
        list[str] | None, typer.Option(metavar="GRANT_TYPE", help="A grant type that needs no client authentication.")
    ] = None,
    scope: Annotated[str | None, typer.Option(help="What it may ask for; default: the dialect's.")] = None,
    default_scope: Annotated[str | None, typer.Option(help="What it gets when it asks for none; default: all.")] = None,
    default_for: Annotated[str | None, typer.Option(metavar="PATH", help="Answers where none is named.")] = None,
    access_token_lifetime: Lifetime = None,
    idle_lifetime: Lifetime = None,
    session_lifetime: Lifetime = None,
    as_json: Json = False,
) -> None:
    """Register a client. Its secret is printed this once."""
    if dialect not in DIALECTS:
        raise fail(f"the dialect must be one of {', '.join(DIALECTS)}")
    defaults = DIALECTS[dialect].defaults
    allowed = _scope(scope) if scope is not None else defaults.scope
    client = Client(
        client_id=client_id,
        dialect=dialect,
        version=1,
        grant_types=_grant_types(grant_type) or defaults.grant_types,
        grant_types_without_secret=_grant_types(secret_optional_for),
        scope=allowed,
        default_scope=_scope(default_scope) if default_scope is not None else allowed,
        access_token_lifetime=access_token_lifetime or defaults.access_token_lifetime,
        idle_lifetime=idle_lifetime or defaults.idle_lifetime,
        session_lifetime=session_lifetime or defaults.session_lifetime,
    )
    chosen = None if public else secret or new_secret()
    _check(client, chosen, public and secret is not None, default_for)
    registration = Registration(client, chosen, DIALECTS[dialect].secret_signs_tokens, default_for)
    try:
        run(lambda database, keyring, _: PostgresClients(database, keyring).add(registration))
    except ClientExistsError as error:
        raise fail(str(error)) from None
    _print_secret(client_id, chosen, as_json)


def _check(client: Client, secret: str | None, both: bool, default_for: str | None) -> None:
    faults = []
    if both:
        faults.append("a public client has no secret")
    if not _VISIBLE.fullmatch(client.client_id) or len(client.client_id) > 255:
        faults.append("a client id is 1 to 255 printable ASCII characters")
    if secret is not None and not (secret and _storable(secret)):
        faults.append("a secret is not empty and has no NUL")
    if DIALECTS[client.dialect].secret_signs_tokens and (secret is None or len(secret) < 32):
        faults.append("tokens of this dialect are signed with the secret: it needs one of at least 32 characters")
    if not client.default_scope <= client.scope:
        faults.append("the default scope is more than the scope")
    if not client.grant_types_without_secret <= client.grant_types:
        faults.append("a grant type without secret is not among the grant types")
    if secret is None and "client_credentials" in client.grant_types:
        faults.append("a public client cannot have client_credentials")
    if default_for is not None and default_for not in PATHS:
        faults.append(f"the default path must be one of {', '.join(PATHS)}")
    if faults:
        raise fail("; ".join(faults))


def _storable(secret: str) -> bool:
    return "\0" not in secret and secret.isprintable()


def _scope(text: str) -> frozenset[str]:
    try:
        return scopes.parse(text or None) or frozenset()
    except InvalidScopeError:
        raise fail("a scope is words of printable ASCII, separated by single spaces") from None


def _grant_types(given: list[str] | None) -> frozenset[str]:
    unknown = set(given or ()) - set(_GRANT_TYPES)
    if unknown:
        raise fail(f"a grant type must be one of {', '.join(_GRANT_TYPES)}")
    return frozenset(given or ())


def _print_secret(client_id: str, secret: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"client_id": client_id, "client_secret": secret})
    else:
        typer.echo(f"client_id:     {client_id}\nclient_secret: {secret or '(none: a public client)'}")


def _rows(client_id: str | None) -> list[dict[str, Any]]:
    rows = run(lambda database, keyring, _: PostgresClients(database, keyring).all())
    return [
        {**row, "public": row["secret_digest"] is None, "disabled": row["disabled_at"] is not None}
        for row in rows
        if client_id is None or row["client_id"] == client_id
    ]


@app.command("list")
def list_clients(as_json: Json = False) -> None:
    """Every registration."""
    show(_rows(None), COLUMNS if as_json else COLUMNS[:5], as_json)


@app.command("show")
def show_client(client_id: ClientId, as_json: Json = False) -> None:
    """One registration in full, without its secret."""
    rows = _rows(client_id)
    if not rows:
        raise fail("there is no such client")
    if as_json:
        print_json({column: rows[0][column] for column in COLUMNS})
    else:
        show([{"": column.replace("_", " "), "value": rows[0][column]} for column in COLUMNS], ("", "value"), False)


@app.command("rotate-secret")
def rotate_secret(
    client_id: ClientId,
    secret: Annotated[str | None, typer.Option(help="The new secret; default: a random one.")] = None,
    as_json: Json = False,
) -> None:
    """Give a client a new secret; the old one is refused from now on. Tokens keep their worth."""
    chosen = secret or new_secret()

    async def work(database: Any, keyring: Any, _settings: Any) -> bool:
        clients = PostgresClients(database, keyring)
        client = await clients.fresh(client_id)
        if client is None:
            return False
        _check(client, chosen, False, None)
        return await clients.rotate_secret(client, chosen)

    if not run(work):
        raise fail("there is no such confidential client")
    _print_secret(client_id, chosen, as_json)


@app.command()
def disable(client_id: ClientId) -> None:
    """Refuse a client from now on, with every token it has."""
    _set_disabled(client_id, True)


@app.command()
def enable(client_id: ClientId) -> None:
    """Accept a disabled client again, with those of its tokens that have not expired."""
    _set_disabled(client_id, False)


def _set_disabled(client_id: str, disabled: bool) -> None:
    if not run(lambda database, keyring, _: PostgresClients(database, keyring).set_disabled(client_id, disabled)):
        raise fail("there is no such client")
    typer.echo(f"{client_id} is {'disabled' if disabled else 'enabled'}")
