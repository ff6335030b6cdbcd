"""Makes a registration of the options of `clients add` or `clients update`, and checks it as a whole."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import typer

from auth_service.app import DIALECTS
from auth_service.core import scope as scopes
from auth_service.core.errors import InvalidScopeError
from auth_service.core.model import Client
from auth_service.dialects.endpoint import PATHS
from servicekit.command_line import line_from_stdin

GOOD_SECRET_LENGTH = 32
_GRANT_TYPES = ("client_credentials", "password", "refresh_token")
_VISIBLE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True)
class Given:
    """The options of a registration as they were typed; None where one was not given, empty where it takes away."""

    grant_types: list[str] | None
    grant_types_without_secret: list[str] | None
    scope: str | None
    default_scope: str | None
    default_for: str | None
    access_token_lifetime: int | None
    idle_lifetime: int | None
    session_lifetime: int | None

    @property
    def nothing(self) -> bool:
        return all(value is None for value in vars(self).values())

    def applied_to(self, client: Client) -> Client:
        """The registration with what was given in place of what it had; see `faults` for what that must hold."""
        return replace(
            client,
            grant_types=_words(self.grant_types, client.grant_types),
            grant_types_without_secret=_words(self.grant_types_without_secret, client.grant_types_without_secret),
            scope=_scope(self.scope, client.scope),
            default_scope=_scope(self.default_scope, client.default_scope),
            access_token_lifetime=self.access_token_lifetime or client.access_token_lifetime,
            idle_lifetime=self.idle_lifetime or client.idle_lifetime,
            session_lifetime=self.session_lifetime or client.session_lifetime,
            default_for=client.default_for if self.default_for is None else self.default_for or None,
        )

    def faults(self) -> list[str]:
        """The faults of single options, each a phrase for the operator."""
        faults = []
        for option, words in (
            ("--grant-type", self.grant_types),
            ("--secret-optional-for", self.grant_types_without_secret),
        ):
            if _words(words, frozenset()) - set(_GRANT_TYPES):
                faults.append(f"{option} must be one of {', '.join(_GRANT_TYPES)}")
        for option, text in (("--scope", self.scope), ("--default-scope", self.default_scope)):
            try:
                scopes.parse(text or None)
            except InvalidScopeError:
                faults.append(f"{option} is words of printable ASCII, separated by single spaces")
        if self.default_for and self.default_for not in PATHS:
            faults.append(f"--default-for must be one of {', '.join(PATHS)}")
        return faults


def by_default(client_id: str, dialect: str, given: Given) -> Client:
    """A new registration: what is not given is the dialect's default, and the default scope is all of the scope."""
    defaults = DIALECTS[dialect].defaults
    scope = _scope(given.scope, defaults.scope)
    return Client(
        client_id=client_id,
        dialect=dialect,
        version=1,
        grant_types=defaults.grant_types,
        scope=scope,
        default_scope=scope,
        access_token_lifetime=defaults.access_token_lifetime,
        idle_lifetime=defaults.idle_lifetime,
        session_lifetime=defaults.session_lifetime,
    )


def missing_or_unknown(client_id: str | None, dialect: str | None) -> list[str]:
    """The faults of the two arguments that every new registration needs."""
    faults = []
    if client_id is None:
        faults.append("CLIENT_ID is missing: the id that the client sends")
    elif not _VISIBLE.fullmatch(client_id) or len(client_id) > 255:
        faults.append("a client id is 1 to 255 printable ASCII characters")
    if dialect is None:
        faults.append(f"--dialect is missing: the API that the client speaks, one of {', '.join(DIALECTS)}")
    elif dialect not in DIALECTS:
        faults.append(f"--dialect must be one of {', '.join(DIALECTS)}")
    return faults


def contradictions(client: Client, public: bool) -> list[str]:
    """The parts of a registration that contradict each other, each a phrase for the operator."""
    faults = []
    if public and DIALECTS[client.dialect].secret_signs_tokens:
        faults.append(
            f"a {client.dialect} client cannot be public: "
            f"its tokens are signed with its secret, of at least {GOOD_SECRET_LENGTH} characters"
        )
    if public and "client_credentials" in client.grant_types:
        others = " and ".join(f"--grant-type {name}" for name in _GRANT_TYPES if name != "client_credentials")
        faults.append(f"a public client cannot have client_credentials: add {others}, or one of them")
    if unsigned := client.grant_types_without_secret - client.grant_types:
        faults.append(f"--secret-optional-for: {_join(unsigned)} is not among the grant types (--grant-type)")
    if beyond := client.default_scope - client.scope:
        faults.append(f"the default scope is more than the scope: --scope lacks {_join(beyond)}")
    return faults


def faults_of_secret(secret: str | None, dialect: str | None, *, public: bool) -> list[str]:
    """The faults of a secret that the operator gave; an empty list where none was given."""
    if secret is None:
        return []
    faults = []
    if public:
        faults.append("a public client has no secret: leave out --public, or the secret")
    if not secret or not secret.isprintable():
        faults.append("a secret is not empty and has printable characters only")
    signs = dialect in DIALECTS and DIALECTS[dialect].secret_signs_tokens
    if signs and len(secret) < GOOD_SECRET_LENGTH:
        faults.append(
            f"tokens of {dialect} are signed with the secret, so it needs at least {GOOD_SECRET_LENGTH} characters"
        )
    return faults


def given_secret(secret: str | None, from_stdin: bool) -> str | None:
    """The secret that an option gives; None where none does. Leaves the process where it cannot be read."""
    if not from_stdin:
        return secret
    if secret is not None:
        raise SystemExit("--secret and --secret-stdin exclude each other")
    return line_from_stdin("the secret")


def warn_of_short(secret: str | None) -> None:
    """Say so on standard error where a secret can be guessed."""
    if secret is not None and len(secret) < GOOD_SECRET_LENGTH:
        typer.echo(f"warning: a secret of fewer than {GOOD_SECRET_LENGTH} characters may be guessed", err=True)


def _words(given: list[str] | None, present: frozenset[str]) -> frozenset[str]:
    return present if given is None else frozenset(given) - {""}


def _scope(given: str | None, present: frozenset[str]) -> frozenset[str]:
    return present if given is None else frozenset(given.split())


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
