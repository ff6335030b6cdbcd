"""Access tokens signed with the client's own secret: JWTs that the client itself can check."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auth_service.core.errors import InvalidTokenError, UnavailableError
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.tokens.formats import AccessToken
from auth_service.core.tokens.stored import StoredReference, drop_day, stored_token, with_day


@dataclass(frozen=True)
class ClientSignedFormat:
    """A JWT signed with the client's secret. Anyone who has the secret can forge one, so only stored ones are accepted.

    `header(client_id)` gives the header, `claims(token, jti)` the claims.
    """

    algorithm: str
    header: Callable[[str], dict[str, str]]
    claims: Callable[[AccessToken, str], dict[str, Any]]
    needs_email: bool = False
    needs_secret: bool = True
    key_algorithm: None = None
    stored: None = None

    def matches(self, _token: str, algorithm: str | None) -> bool:
        return algorithm == self.algorithm

    def draft(self, _expires_at: float) -> "ClientSignedFormat":
        """The format itself: the token names its session's user, so it can only be signed and stored afterwards."""
        return self

    async def issue(self, token: AccessToken, keys: ServerKeys, sessions: Sessions) -> str:
        if token.secret is None:
            raise UnavailableError
        token_id = new_token_id(drop_day(token.expires_at))
        claims = self.claims(token, str(token_id))
        signed = keys.sign_with_secret(self.algorithm, token.secret, self.header(token.client.client_id), claims)
        stored = stored_token(signed, token_id.bytes)
        await sessions.store_token(token.session, stored, token.client.access_token_lifetime)
        return signed

    async def read(self, token: str, _issuer: str, keys: ServerKeys) -> StoredReference:
        try:
            token_id = uuid.UUID(keys.unverified_claims(token)["jti"])
        except (KeyError, ValueError, AttributeError, TypeError):
            raise InvalidTokenError from None
        return StoredReference(stored_token(token, token_id.bytes))


def new_token_id(day: int) -> uuid.UUID:
    """A version 4 UUID for `jti`, with the drop day in its last two bytes; 106 bits of it are random."""
    return uuid.UUID(bytes=with_day(uuid.uuid4().bytes[:-2], day))
