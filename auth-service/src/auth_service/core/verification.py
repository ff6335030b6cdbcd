"""What a token is worth now: verification, introspection (RFC 7662) and revocation (RFC 7009)."""

import hashlib
from collections.abc import Mapping
from typing import Any

from auth_service.core.access_tokens import ClientSignedFormat, OpaqueFormat, SignedFacts, SignedFormat
from auth_service.core.errors import ExpiredTokenError, InvalidGrantError, InvalidTokenError
from auth_service.core.model import ActiveToken, Client
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.refresh_tokens import RefreshTokens
from auth_service.core.server import TokenFormats

INTROSPECTION_SCOPE = "introspection"
_REMEMBERED = 20_000


class Verifier:
    """Tells what tokens are worth. `formats` are by dialect name; no two dialects' access tokens look alike."""

    def __init__(
        self,
        issuer: str,
        sessions: Sessions,
        keys: ServerKeys,
        refresh_tokens: RefreshTokens,
        formats: Mapping[str, TokenFormats],
    ) -> None:
        self._issuer = issuer
        self._sessions = sessions
        self._keys = keys
        self._refresh_tokens = refresh_tokens
        self._formats = formats
        self._checked: dict[bytes, tuple[str, SignedFacts, str]] = {}

    def dialect_of(self, token: str) -> str | None:
        """The dialect whose access tokens look like `token`; None when none does."""
        algorithm = self._keys.algorithm_of(token)
        for name, formats in self._formats.items():
            form = formats.access_token
            if form.matches(token) if isinstance(form, OpaqueFormat) else form.algorithm == algorithm:
                return name
        return None

    async def verify(self, token: str) -> ActiveToken:
        """The facts of an access token. Raises InvalidTokenError, ExpiredTokenError or UnavailableError."""
        digest = hashlib.sha256(token.encode()).digest()
        checked = self._checked.get(digest)
        if checked is not None:
            dialect_name, facts, kid = checked
            if self._keys.is_known(kid):
                return await self._active_signed(dialect_name, facts)
        dialect = self.dialect_of(token)
        if dialect is None:
            raise InvalidTokenError
        form = self._formats[dialect].access_token
        if isinstance(form, SignedFormat):
            claims, kid = await self._keys.verified_claims(token, form.algorithm, form.media_type)
            facts = form.read(claims, self._issuer)
            self._remember(digest, dialect, facts, kid)
            return await self._active_signed(dialect, facts)
        if isinstance(form, ClientSignedFormat):
            stored = form.stored(token, self._keys.unverified_claims(token))
        else:
            stored = form.stored(token)
        return _of_dialect(await self._sessions.active_by_token(stored), dialect)

    def _remember(self, digest: bytes, dialect: str, facts: SignedFacts, kid: str) -> None:
        """A signature is checked once while its key is known; its facts are kept by the exact bytes of the token."""
        if len(self._checked) >= _REMEMBERED:
            self._checked.clear()
        self._checked[digest] = (dialect, facts, kid)

    async def _active_signed(self, dialect: str, facts: SignedFacts) -> ActiveToken:
        active = _of_dialect(await self._sessions.active(facts.session_id), dialect)
        if facts.expires_at <= active.now:
            raise ExpiredTokenError
        return active.of_token(facts.scope, facts.issued_at, facts.expires_at)

    async def introspect(self, token: str, caller: Client) -> dict[str, Any]:
        """RFC 7662 section 2.2: the facts of a token of the caller's, or of anybody's where it may ask for those."""
        active = await self._find(token, caller)
        if active is None:
            return {"active": False}
        return {
            "active": True,
            "scope": " ".join(sorted(active.scope)),
            "client_id": active.client_id,
            "sub": active.subject,
            "token_type": "Bearer",
            "iat": int(active.issued_at),
            "exp": int(active.expires_at),
            "iss": self._issuer,
        }

    async def _find(self, token: str, caller: Client) -> ActiveToken | None:
        try:
            active: ActiveToken | None = await self.verify(token)
        except InvalidTokenError:
            active = await self._refresh_token(token, caller)
        if active is None or (active.client_id != caller.client_id and INTROSPECTION_SCOPE not in caller.scope):
            return None
        return active

    async def _refresh_token(self, token: str, caller: Client) -> ActiveToken | None:
        named = self._session_of_refresh_token(token, caller)
        return await self._sessions.refreshable(*named) if named else None

    def _session_of_refresh_token(self, token: str, client: Client) -> tuple[int, int] | None:
        encoding = self._formats[client.dialect].refresh_token
        try:
            return self._refresh_tokens.read(token, client.client_id, encoding) if encoding else None
        except InvalidGrantError:
            return None

    async def revoke(self, token: str, client: Client) -> None:
        """End the session that an access or refresh token of this client belongs to; any other token is passed over."""
        named = self._session_of_refresh_token(token, client)
        if named is not None:
            await self._sessions.end(named[0], client.client_id)
            return
        try:
            active = await self.verify(token)
        except InvalidTokenError:
            return
        await self._sessions.end(active.session_id, client.client_id)


def _of_dialect(active: ActiveToken | None, dialect: str) -> ActiveToken:
    """A client's tokens are of its own dialect: whatever else names its session is no token of ours."""
    if active is None or active.dialect != dialect:
        raise InvalidTokenError
    return active
