"""Refresh tokens, which are derived and never stored: session, counter, and a MAC over both and the client.

The first twelve bytes are masked with a keystream that the MAC selects, so that a token reveals neither session nor
counter, and no two look alike. A forged token is refused without asking the database.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from auth_service.core.errors import InvalidGrantError

_SESSION_BYTES = 8
_COUNTER_BYTES = 4
_BODY_BYTES = _SESSION_BYTES + _COUNTER_BYTES
_PATTERNS = {"hex": re.compile(r"[0-9a-f]+"), "base64url": re.compile(r"[A-Za-z0-9_-]+")}


@dataclass(frozen=True)
class RefreshTokenEncoding:
    """A dialect's encoding of refresh tokens: 12 bytes and `mac_bytes` bytes of MAC, encoded as `text`."""

    text: Literal["hex", "base64url"]
    mac_bytes: int

    def write(self, raw: bytes) -> str:
        return raw.hex() if self.text == "hex" else base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def read(self, token: str) -> bytes | None:
        """The bytes of `token`, or None if `write` would not produce exactly this text."""
        if len(token) > 200 or not _PATTERNS[self.text].fullmatch(token):
            return None
        try:
            raw = (
                bytes.fromhex(token)
                if self.text == "hex"
                else base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            )
        except ValueError:
            return None
        return raw if len(raw) == _BODY_BYTES + self.mac_bytes and self.write(raw) == token else None


class RefreshTokens:
    """Derives and reads refresh tokens. `keys` are 32 bytes each; the first (newest) derives, all of them verify."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def derive(self, session_id: int, counter: int, client_id: str, encoding: RefreshTokenEncoding) -> str:
        body = session_id.to_bytes(_SESSION_BYTES, "big") + counter.to_bytes(_COUNTER_BYTES, "big")
        key = self._keys[0]
        mac = _mac(key, body, client_id, encoding)
        return encoding.write(_masked(key, mac, body) + mac)

    def read(self, token: str, client_id: str, encoding: RefreshTokenEncoding) -> tuple[int, int]:
        """Session id and counter of a token issued to this client. Raises InvalidGrantError."""
        raw = encoding.read(token)
        if raw is not None:
            masked, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
            for key in self._keys:
                body = _masked(key, mac, masked)
                if hmac.compare_digest(mac, _mac(key, body, client_id, encoding)):
                    return int.from_bytes(body[:_SESSION_BYTES], "big"), int.from_bytes(body[_SESSION_BYTES:], "big")
        raise InvalidGrantError


def _mac(key: bytes, body: bytes, client_id: str, encoding: RefreshTokenEncoding) -> bytes:
    return hmac.digest(key, b"refresh token" + body + client_id.encode(), "sha256")[: encoding.mac_bytes]


def _masked(key: bytes, mac: bytes, body: bytes) -> bytes:
    keystream = hmac.digest(key, b"refresh token mask" + mac, "sha256")
    return bytes(a ^ b for a, b in zip(body, keystream, strict=False))
