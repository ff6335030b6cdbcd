"""The protocol of every kind of access token, and what is said about a token before it is written in one."""

from dataclasses import dataclass, field
from typing import Protocol

from auth_service.core.model import ActiveToken, Client, Session, StoredToken
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.tokens.refresh import RefreshTokenEncoding


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token before it is written in a format. Times are whole epoch seconds.

    `secret` is the one that the client has just proved, else its current one; None for a public client.
    """

    issuer: str
    client: Client
    session: Session
    issued_at: int
    expires_at: int
    secret: bytes | None = field(default=None, repr=False)


class Draft(Protocol):
    """An access token whose session does not exist yet.

    `stored` is recorded in the same statement as the session; None where the token depends on the session.
    """

    @property
    def stored(self) -> StoredToken | None: ...

    async def issue(self, token: AccessToken, keys: ServerKeys, sessions: Sessions) -> str:
        """The token on the wire, once its session is recorded. Raises UnavailableError."""


class TokenReference(Protocol):
    """The session or the stored token that an access token points to.

    `kid` names the server's key that signed the token: while that key is known, the token need not be checked again.
    None where the database is to be asked about the token itself.
    """

    @property
    def kid(self) -> str | None: ...

    async def active(self, sessions: Sessions) -> ActiveToken | None:
        """The facts of the token, None when it is not issued or has ended. Raises ExpiredTokenError."""


class AccessTokenFormat(Protocol):
    """A kind of access token as one dialect has it.

    `key_algorithm` is the algorithm of the server's key that signs it, None where none does. `needs_secret` is true
    where the client's own secret signs it, `needs_email` where it names the user's address.
    """

    @property
    def key_algorithm(self) -> str | None: ...

    @property
    def needs_secret(self) -> bool: ...

    @property
    def needs_email(self) -> bool: ...

    def matches(self, token: str, algorithm: str | None) -> bool:
        """True if `token` looks like one of this format; `algorithm` is the one that it names, if it is a JWS."""

    def draft(self, expires_at: float) -> Draft:
        """A new token that expires at this time (epoch seconds) at the latest."""

    async def read(self, token: str, issuer: str, keys: ServerKeys) -> TokenReference:
        """Check a token as far as that goes without the database. Raises InvalidTokenError or UnknownKeyError."""


@dataclass(frozen=True)
class TokenFormats:
    """The formats of a dialect's tokens; `refresh_token` is None where it has no refresh tokens."""

    access_token: AccessTokenFormat
    refresh_token: RefreshTokenEncoding | None
