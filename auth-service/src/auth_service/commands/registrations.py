"""Reads registrations from the options of `clients add` and `clients update`."""

from dataclasses import dataclass, replace

import typer

from auth_service.app import DIALECTS, GRANTS
from auth_service.core.clients import GOOD_SECRET_LENGTH, RegistrationRules
from auth_service.core.model import Client
from servicekit.command_line import line_from_stdin

RULES = RegistrationRules(
    defaults={name: dialect.defaults for name, dialect in DIALECTS.items()},
    secret_signs=[name for name, dialect in DIALECTS.items() if dialect.formats.access_token.needs_secret],
    grant_types=sorted(grant.grant_type for grant in GRANTS),
    confidential_only=[grant.grant_type for grant in GRANTS if grant.confidential_only],
    paths=list(dict.fromkeys(path for dialect in DIALECTS.values() for path in dialect.paths)),
    names={
        "client_id": "CLIENT_ID",
        "dialect": "--dialect",
        "grant_types": "--grant-type",
        "grant_types_without_secret": "--secret-optional-for",
        "scope": "--scope",
        "default_scope": "--default-scope",
        "default_for": "--default-for",
        "public": "--public",
    },
)


@dataclass(frozen=True)
class Given:
    """The options of a registration as typed; None if an option was omitted, empty if it clears a value."""

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

    def new(self, client_id: str, dialect: str) -> Client:
        """A new registration, with the dialect's defaults for omitted options."""
        scope = None if self.scope is None else frozenset(self.scope.split())
        return self.applied_to(RULES.new(client_id, dialect, scope))

    def applied_to(self, client: Client) -> Client:
        """The registration, changed by the options that were given; `faults` checks these."""
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
        """The faults of individual options, each a phrase for the operator."""
        none: frozenset[str] = frozenset()
        grant_types = {
            "grant_types": _words(self.grant_types, none),
            "grant_types_without_secret": _words(self.grant_types_without_secret, none),
        }
        texts = (("scope", self.scope), ("default_scope", self.default_scope))
        scopes = {field: text for field, text in texts if text is not None}
        return RULES.faults_of_values(grant_types, scopes, self.default_for or None)


def given_secret(secret: str | None, from_stdin: bool) -> str | None:
    """The secret that an option gives, or None. Exits if the secret cannot be read."""
    if not from_stdin:
        return secret
    if secret is not None:
        raise SystemExit("--secret and --secret-stdin exclude each other: use one of them")
    return line_from_stdin("the secret")


def warn_of_short(secret: str | None) -> None:
    """Warn on standard error if a secret is short enough to be guessed."""
    if secret is not None and len(secret) < GOOD_SECRET_LENGTH:
        typer.echo(f"warning: a secret of fewer than {GOOD_SECRET_LENGTH} characters may be guessed", err=True)


def _words(given: list[str] | None, present: frozenset[str]) -> frozenset[str]:
    return present if given is None else frozenset(given) - {""}


def _scope(given: str | None, present: frozenset[str]) -> frozenset[str]:
    return present if given is None else frozenset(given.split())
