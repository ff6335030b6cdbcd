"""The protocol of every kind of access token, and the contents of a token before a format encodes it."""

from dataclasses import dataclass, field
from typing import Protocol

from auth_service.core.model import ActiveToken, Client, Session, StoredToken
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.tokens.refresh import RefreshTokenEncoding


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The contents of an access token before a format encodes them. Times are whole epoch seconds.

    `secret` is the one that the client has just presented, or else its current one; None for a public client.
    """

    issuer: str
    client: Client
    session: Session
    issued_at: int
    expires_at: int
    secret: bytes | None = field(default=None, repr=False)


class Draft(Protocol):
    """An access token whose session does not exist yet.

    `stored` is recorded in the same statement as the session; None if the token depends on the session.
    """

    @property
    def stored(self) -> StoredToken | None: ...

    async def issue(self, token: AccessToken, keys: ServerKeys, sessions: Sessions) -> str:
        """The token on the wire, once its session is recorded. Raises UnavailableError."""


class TokenReference(Protocol):
    """The session or the stored token that an access token points to.

    `kid` names the server's key that signed the token: as long as that key is known, the signature need not be checked
    again. None if the database must be asked about the token itself.
    """

    @property
    def kid(self) -> str | None: ...

    async def active(self, sessions: Sessions) -> ActiveToken | None:
        """The facts of the token; None if it was not issued or was ended. Raises ExpiredTokenError."""


class AccessTokenFormat(Protocol):
    """A dialect's kind of access token.

    `key_algorithm` is the algorithm of the server's key that signs it, None if no such key does. `needs_secret` is true
    if the client's own secret signs it, `needs_email` if it contains the user's email address.
    """

    @property
    def key_algorithm(self) -> str | None: ...

    @property
    def needs_secret(self) -> bool: ...

    @property
    def needs_email(self) -> bool: ...

    def matches(self, token: str, algorithm: str | None) -> bool:
        """True if `token` looks like one of this format; `algorithm` is its `alg` if it is a JWS."""

    def draft(self, expires_at: float) -> Draft:
        """Begin a new token that expires at `expires_at` (epoch seconds) or earlier."""

    async def read(self, token: str, issuer: str, keys: ServerKeys) -> TokenReference:
        """Check a token as far as possible without the database. Raises InvalidTokenError or UnknownKeyError."""


@dataclass(frozen=True)
class TokenFormats:
    """The formats of a dialect's tokens; `refresh_token` is None if it has no refresh tokens."""

    access_token: AccessTokenFormat
    refresh_token: RefreshTokenEncoding | None
