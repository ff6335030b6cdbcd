"""The protocol of every grant type, and the results that a grant can prove."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from auth_service.core.login import Login
from auth_service.core.model import Client, TokenRequest, User
from auth_service.core.tokens.formats import TokenFormats
from auth_service.core.tokens.refresh import RefreshTokens


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session is to be opened for `user`, who has just logged in by the methods `amr` (RFC 8176).

    If that is None, it is for the client itself.
    """

    user: User | None
    amr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rotation:
    """Refresh token `counter` of a session is to be replaced by its successor."""

    session_id: int
    counter: int


@dataclass(frozen=True, slots=True)
class Provers:
    """The parts of the core that grants use for their proofs. `formats` are by dialect name."""

    login: Login
    refresh_tokens: RefreshTokens
    formats: Mapping[str, TokenFormats]


class Grant(Protocol):
    """Turns a token request into what is to be recorded; the server records it.

    `confidential_only` excludes public clients. `issues_refresh_token` is true if the response may have a refresh
    token. `narrows` is true if the request presents a refresh token: it may only narrow the scope of the session, and
    a refusal counts against the budget for refused refreshes.
    """

    grant_type: str
    confidential_only: bool
    issues_refresh_token: bool
    narrows: bool

    def __init__(self, provers: Provers) -> None: ...

    def check(self, request: TokenRequest) -> None:
        """Raise InvalidRequestError if a parameter of this grant is missing. This is the grant's first step."""

    async def prove(self, request: TokenRequest, client: Client) -> NewSession | Rotation:
        """Prove that the request may be answered with tokens. Raises OAuthError, in most cases InvalidGrantError."""
