"""Strict reading of JWTs: malformed ones that PyJWT accepts are refused before a signature is checked (RFC 8725)."""

import base64
import re
from typing import Any

import jwt

from servicekit import wire

MAX_LENGTH = 8 * 1024
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class InvalidTokenError(Exception):
    """We do not accept the token. The reason is for the log, never for the client."""


def _segment(encoded: str) -> bytes:
    """Decode base64url without padding; only the canonical encoding of the bytes is accepted (RFC 7515 §2)."""
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidTokenError("not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != encoded.encode():
        raise InvalidTokenError("not canonical base64url")
    return raw


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a compact JWS; only its form is checked. Raises InvalidTokenError."""
    if len(token) > MAX_LENGTH or not _COMPACT.fullmatch(token):
        raise InvalidTokenError("not a compact JWS")
    header, claims, signature = token.split(".")
    _segment(signature)
    try:
        return wire.read_json(_segment(header)), wire.read_json(_segment(claims))
    except wire.MalformedBodyError as error:
        raise InvalidTokenError(str(error)) from None


def verify_signature(token: str, key: Any, algorithm: str, header: dict[str, Any]) -> None:
    """Check the signature under `key`, which the caller chose for exactly one `algorithm`."""
    if header.get("alg") != algorithm or "crit" in header or "b64" in header:
        raise InvalidTokenError("header")
    try:
        jwt.PyJWS().decode(token, key, algorithms=[algorithm])
    except jwt.PyJWTError as error:
        raise InvalidTokenError(type(error).__name__) from None


def media_type(header: dict[str, Any]) -> str:
    """The header's `typ` in lower case without `application/` (RFC 7515 §4.1.9); empty if it is missing."""
    given = header.get("typ")
    return given.lower().removeprefix("application/") if isinstance(given, str) else ""


def integer(claims: dict[str, Any], name: str) -> int:
    """A claim that must be a time: a plain integer from 0 to the end of the year 9999. Raises InvalidTokenError."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 253_402_300_800:
        raise InvalidTokenError(f"{name} is not a time")
    return value


def string(claims: dict[str, Any], name: str) -> str:
    """A claim that must be a non-empty string. Raises InvalidTokenError."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidTokenError(f"{name} is not a string")
    return value
