"""Secrets that can be told from everything else, and the search for them in whatever was written."""

import base64
import binascii
import json
import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import quote

# Every planted secret and every login name begins with one of these, so what was cut off is found as well.
SECRET, NAME = "canary-", "whoami"
# A shorter secret of the server's own might stand anywhere by chance.
_LEAST = 12


def new_secret() -> str:
    """A secret fit for any place: a password, a token in a header, a path, a client's secret."""
    return SECRET + secrets.token_hex(16)


def new_name() -> str:
    """A login name. It is a record of a user, so the database has it, but no log of a service does."""
    return NAME + secrets.token_hex(10)


class Kept:
    """The secrets that the server made, by what they are."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    def keep(self, what: str, value: str | None) -> None:
        assert value
        assert len(value) >= _LEAST
        self.secrets[f"{what}, number {len(self.secrets)}"] = value


def found(wanted: Mapping[str, str], written: Mapping[str, bytes]) -> list[str]:
    """Which of the values stand where, in whatever spelling, with what stands around them."""
    spelled = {what: _spellings(value) for what, value in wanted.items()}
    return [
        f"{what} in {where}: {content[max(position - 80, 0) : position + 80]!r}"
        for where, content in written.items()
        for what, spellings in spelled.items()
        for spelling in spellings
        if (position := content.find(spelling)) >= 0
    ]


def _spellings(value: str) -> set[bytes]:
    """The value as text, escaped, in hex, in base64 wherever it may begin, and what it decodes to in hex."""
    raw = value.encode()
    texts = {value, quote(value, safe=""), json.dumps(value)[1:-1], raw.hex(), raw.hex().upper(), *_base64(raw)}
    texts |= {value.rpartition(".")[2], *(decoded.hex() for decoded in _decoded(value))}
    return {text.encode() for text in texts}


def _base64(raw: bytes) -> Iterable[str]:
    for offset in range(3):
        # The characters that also hold bits of what stands before and behind are left out.
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        inner = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _decoded(value: str) -> Iterable[bytes]:
    """The bytes of a token that is base64url, or of a JWT's signature: a database may hold them as they are."""
    text = value.rpartition(".")[2]
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return
    if len(decoded) >= _LEAST:
        yield decoded
