"""Recognizable secrets, and the search for them in everything that was written."""

import base64
import binascii
import json
import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import quote

# Every planted secret and login name begins with one of these, so that truncated ones are found as well.
SECRET, NAME = "canary-", "whoami"
# A shorter secret of the server might occur somewhere by chance.
_LEAST = 12


def new_secret() -> str:
    """A secret fit for any place: a password, a token in a header, a path, a client's secret."""
    return SECRET + secrets.token_hex(16)


def new_name() -> str:
    """A login name. It belongs to a user's record, so the database contains it, but no log of a service does."""
    return NAME + secrets.token_hex(10)


class Kept:
    """The secrets that the server made, by a description of each."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    def keep(self, what: str, value: str | None) -> None:
        assert value
        assert len(value) >= _LEAST
        self.secrets[f"{what}, number {len(self.secrets)}"] = value


def found(wanted: Mapping[str, str], written: Mapping[str, bytes]) -> list[str]:
    """The places where any of the values occurs, in whatever spelling, with the surrounding text."""
    spelled = {what: _spellings(value) for what, value in wanted.items()}
    return [
        f"{what} in {where}: {content[max(position - 80, 0) : position + 80]!r}"
        for where, content in written.items()
        for what, spellings in spelled.items()
        for spelling in spellings
        if (position := content.find(spelling)) >= 0
    ]


def _spellings(value: str) -> set[bytes]:
    """The value as text, escaped, in hex, in base64 at any offset, and its decoded bytes in hex."""
    raw = value.encode()
    texts = {value, quote(value, safe=""), json.dumps(value)[1:-1], raw.hex(), raw.hex().upper(), *_base64(raw)}
    texts |= {value.rpartition(".")[2], *(decoded.hex() for decoded in _decoded(value))}
    return {text.encode() for text in texts}


def _base64(raw: bytes) -> Iterable[str]:
    for offset in range(3):
        # Without the characters that also encode bits of the neighbouring bytes.
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        inner = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _decoded(value: str) -> Iterable[bytes]:
    """The bytes of a base64url token or of a JWT's signature: a database may contain them in binary."""
    text = value.rpartition(".")[2]
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return
    if len(decoded) >= _LEAST:
        yield decoded
