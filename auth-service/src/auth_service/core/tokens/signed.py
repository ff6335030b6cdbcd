"""Access tokens that the server signs: JWTs that name their session, which decides whether they are accepted."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auth_service.core.errors import ExpiredTokenError, InvalidTokenError
from auth_service.core.model import ActiveToken
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.tokens.formats import AccessToken

_SESSION_DIGITS = 16
_TOKEN_ID = re.compile(r"[0-7][0-9a-f]{79}")  # a session id has 63 bits


@dataclass(frozen=True, slots=True)
class SignedFacts:
    """The claims of a server-signed token; times are epoch seconds."""

    session_id: int
    scope: frozenset[str]
    issued_at: float
    expires_at: int


@dataclass(frozen=True, slots=True)
class SignedReference:
    """A reference to a token whose signature was checked with the key `kid`."""

    facts: SignedFacts
    kid: str

    async def active(self, sessions: Sessions) -> ActiveToken | None:
        active = await sessions.active(self.facts.session_id)
        if active is None:
            return None
        if self.facts.expires_at <= active.now:
            raise ExpiredTokenError
        return active.of_token(self.facts.scope, self.facts.issued_at, self.facts.expires_at)


@dataclass(frozen=True)
class SignedFormat:
    """A JWT signed with a key of the server. `media_type` is its `typ` in lower case; no other format has `algorithm`.

    `header(kid)` gives the header, `claims(token, jti)` the claims; `facts(claims, issuer)` reads them back or raises
    InvalidTokenError.
    """

    algorithm: str
    media_type: str
    header: Callable[[str], dict[str, str]]
    claims: Callable[[AccessToken, str], dict[str, Any]]
    facts: Callable[[dict[str, Any], str], SignedFacts]
    needs_secret: bool = False
    needs_email: bool = False
    stored: None = None

    @property
    def key_algorithm(self) -> str:
        return self.algorithm

    def matches(self, _token: str, algorithm: str | None) -> bool:
        return algorithm == self.algorithm

    def draft(self, _expires_at: float) -> "SignedFormat":
        """The format itself: everything in the token depends on its session."""
        return self

    async def issue(self, token: AccessToken, keys: ServerKeys, _sessions: Sessions) -> str:
        header = self.header(keys.active_key_id(self.algorithm))
        return keys.sign(self.algorithm, header, self.claims(token, token_id_of_session(token.session.id)))

    async def read(self, token: str, issuer: str, keys: ServerKeys) -> SignedReference:
        claims, kid = await keys.verified_claims(token, self.algorithm, self.media_type)
        return SignedReference(self.facts(claims, issuer), kid)


def token_id_of_session(session_id: int) -> str:
    """A `jti` of 80 hex digits whose first 16 name the session, so that clients see no additional claim."""
    return f"{session_id:016x}{secrets.token_hex(32)}"


def session_of_token_id(token_id: object) -> int:
    """The id of the session that one of our `jti`s names. Raises InvalidTokenError."""
    if not isinstance(token_id, str) or not _TOKEN_ID.fullmatch(token_id):
        raise InvalidTokenError
    return int(token_id[:_SESSION_DIGITS], 16)
