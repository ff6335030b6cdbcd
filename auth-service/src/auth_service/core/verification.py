"""Verification, introspection (RFC 7662) and revocation (RFC 7009) of tokens."""

import hashlib
from collections.abc import Mapping, MutableMapping
from typing import Any

from auth_service.core.endings import EndedBy, Endings, Reason, Selection
from auth_service.core.errors import InvalidGrantError, InvalidTokenError
from auth_service.core.model import ActiveToken, Client
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.tokens.formats import TokenFormats, TokenReference
from auth_service.core.tokens.refresh import RefreshTokens

INTROSPECTION_SCOPE = "introspection"

Checked = MutableMapping[bytes, tuple[str, TokenReference, str]]


class Verifier:
    """Verifies, introspects and revokes tokens. `formats` are by dialect name; no two dialects' tokens look alike.

    `checked` caches tokens whose signatures were checked: it maps the token's digest to its dialect, its reference and
    the `kid` of its key. It may evict any of them.
    """

    def __init__(
        self,
        issuer: str,
        sessions: Sessions,
        keys: ServerKeys,
        refresh_tokens: RefreshTokens,
        formats: Mapping[str, TokenFormats],
        endings: Endings,
        checked: Checked,
    ) -> None:
        self._issuer = issuer
        self._sessions = sessions
        self._keys = keys
        self._refresh_tokens = refresh_tokens
        self._formats = formats
        self._endings = endings
        self._checked = checked

    def dialect_of(self, token: str) -> str | None:
        """The dialect whose access tokens look like `token`, or None."""
        algorithm = self._keys.algorithm_of(token)
        for name, formats in self._formats.items():
            if formats.access_token.matches(token, algorithm):
                return name
        return None

    async def verify(self, token: str) -> ActiveToken:
        """The facts of an access token. Raises InvalidTokenError, ExpiredTokenError or UnavailableError."""
        dialect, reference = await self._reference(token)
        active = await reference.active(self._sessions)
        # A client's tokens are in its own dialect: a token in another that names its session was not issued by us.
        if active is None or active.dialect != dialect:
            raise InvalidTokenError
        return active

    async def _reference(self, token: str) -> tuple[str, TokenReference]:
        """The dialect and the reference of a token. A signature is checked only once, as long as its key is known."""
        digest = hashlib.sha256(token.encode()).digest()
        checked = self._checked.get(digest)
        if checked is not None and self._keys.is_known(checked[2]):
            return checked[0], checked[1]
        dialect = self.dialect_of(token)
        if dialect is None:
            raise InvalidTokenError
        reference = await self._formats[dialect].access_token.read(token, self._issuer, self._keys)
        if reference.kid is not None:
            self._checked[digest] = (dialect, reference, reference.kid)
        return dialect, reference

    async def introspect(self, token: str, caller: Client) -> dict[str, Any]:
        """The facts of one of the caller's tokens, or of any token if its scope allows that (RFC 7662 section 2.2)."""
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
        """End the session to which an access or refresh token of this client belongs; any other token is ignored."""
        named = self._session_of_refresh_token(token, client)
        if named is not None:
            session_id = named[0]
        else:
            try:
                session_id = (await self.verify(token)).session_id
            except InvalidTokenError:
                return
        ended = Selection(session_id=session_id, client_id=client.client_id)
        await self._endings.end(ended, EndedBy.CLIENT, Reason.TOKEN_REVOKED)
