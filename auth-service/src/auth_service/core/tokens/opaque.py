"""Opaque access tokens: random hex digits, which are looked up by their digest."""

import re
import secrets
from dataclasses import dataclass, field

from auth_service.core.model import StoredToken
from auth_service.core.ports import ServerKeys, Sessions
from auth_service.core.tokens.formats import AccessToken
from auth_service.core.tokens.stored import StoredReference, drop_day, stored_token, with_day

_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class OpaqueDraft:
    """An opaque token. It is generated before its session is opened, so that one statement records both."""

    text: str = field(repr=False)
    stored: StoredToken

    async def issue(self, _token: AccessToken, _keys: ServerKeys, _sessions: Sessions) -> str:
        return self.text


@dataclass(frozen=True)
class OpaqueFormat:
    """A token of `length` random lower-case hex digits."""

    length: int
    key_algorithm: None = None
    needs_secret: bool = False
    needs_email: bool = False

    def matches(self, token: str, _algorithm: str | None) -> bool:
        return len(token) == self.length and _HEX.fullmatch(token) is not None

    def draft(self, expires_at: float) -> OpaqueDraft:
        raw = with_day(secrets.token_bytes(self.length // 2 - 2), drop_day(expires_at))
        text = raw.hex()
        return OpaqueDraft(text, stored_token(text, raw))

    async def read(self, token: str, _issuer: str, _keys: ServerKeys) -> StoredReference:
        return StoredReference(stored_token(token, bytes.fromhex(token)))
