"""The three kinds of access token: opaque, signed by the server, signed with the client's own secret.

Opaque and client-signed tokens are accepted only when their digest is found among those issued; the digests lie in
partitions by the day they may be dropped, and the token carries that day (masked), so one partition is asked.
"""

import hashlib
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from auth_service.core.errors import InvalidTokenError
from auth_service.core.model import Client, Session

_DAY = 86400
_SESSION_DIGITS = 16
_TOKEN_ID = re.compile(r"[0-7][0-9a-f]{79}")  # a session id has 63 bits


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What is kept of a token that is looked up by digest. `drop_day` counts from 1970-01-01 (UTC)."""

    digest: bytes
    drop_day: int


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an access token says, before it is written in a format. Times are whole epoch seconds."""

    issuer: str
    client: Client
    session: Session
    token_id: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class SignedFacts:
    """What a server-signed token's claims name; the session it belongs to decides whether it is accepted."""

    session_id: int
    scope: frozenset[str]
    issued_at: float
    expires_at: int


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def drop_day(expires_at: float) -> int:
    """The day after the one a token expires on: replicas' clocks differ, and an expired token is still told apart."""
    return int(expires_at // _DAY) + 1


def _mask(random_part: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"drop day" + random_part).digest()[:2], "big")


def _with_day(random_part: bytes, day: int) -> bytes:
    return random_part + (day ^ _mask(random_part)).to_bytes(2, "big")


def _day_of(raw: bytes) -> int:
    return int.from_bytes(raw[-2:], "big") ^ _mask(raw[:-2])


@dataclass(frozen=True, slots=True)
class DraftedToken:
    """An opaque token that is made before its session, so that one statement records both."""

    text: str = field(repr=False)
    stored: StoredToken


@dataclass(frozen=True)
class OpaqueFormat:
    """Random lower-case hex of `length` digits."""

    length: int

    def matches(self, token: str) -> bool:
        return len(token) == self.length and re.fullmatch(r"[0-9a-f]+", token) is not None

    def draft(self, expires_at: float) -> DraftedToken:
        token = _with_day(secrets.token_bytes(self.length // 2 - 2), drop_day(expires_at)).hex()
        return DraftedToken(token, self.stored(token))

    def stored(self, token: str) -> StoredToken:
        return StoredToken(digest(token), _day_of(bytes.fromhex(token)))


@dataclass(frozen=True)
class SignedFormat:
    """A JWT under a key of the server; `algorithm` names exactly one key family, `media_type` its lower-case `typ`.

    `header` writes the header for a `kid`, `claims` writes an AccessToken; `read(claims, issuer)` reads it back
    or raises InvalidTokenError.
    """

    algorithm: str
    media_type: str
    header: Callable[[str], dict[str, str]]
    claims: Callable[[AccessToken], dict[str, Any]]
    read: Callable[[dict[str, Any], str], SignedFacts]


@dataclass(frozen=True)
class ClientSignedFormat:
    """A JWT under the client's own secret: whoever has that can forge one, so only what was issued is accepted.

    `header` writes the header for a `client_id`.
    """

    algorithm: str
    header: Callable[[str], dict[str, str]]
    claims: Callable[[AccessToken], dict[str, Any]]

    def stored(self, token: str, claims: dict[str, Any]) -> StoredToken:
        """What to look `token` up by, taken from its `jti`. Raises InvalidTokenError."""
        try:
            token_id = uuid.UUID(claims["jti"]).bytes
        except (KeyError, ValueError, AttributeError, TypeError):
            raise InvalidTokenError from None
        return StoredToken(digest(token), _day_of(token_id))


AccessTokenFormat = OpaqueFormat | SignedFormat | ClientSignedFormat


def token_id_of_session(session_id: int) -> str:
    """A `jti` of 80 hex digits whose first 16 name the session: no claim is added to what clients know."""
    return f"{session_id:016x}{secrets.token_hex(32)}"


def session_of_token_id(token_id: object) -> int:
    """The session that a `jti` of ours names. Raises InvalidTokenError."""
    if not isinstance(token_id, str) or not _TOKEN_ID.fullmatch(token_id):
        raise InvalidTokenError
    return int(token_id[:_SESSION_DIGITS], 16)


def uuid_token_id(day: int) -> str:
    """A version 4 UUID as `jti` that carries the drop day in its last two bytes: 106 random bits are left."""
    raw = bytearray(uuid.uuid4().bytes)
    return str(uuid.UUID(bytes=_with_day(bytes(raw[:-2]), day)))
