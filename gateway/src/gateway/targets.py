"""Which request targets are refused: whatever two programs could read as two different paths."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_VISIBLE = re.compile(r"[\x21-\x7e]*")
# RFC 3986 pchar without ";", which some servers take for the start of a parameter that does not count as path.
_PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})+")
_AMBIGUOUS_WHEN_ENCODED = frozenset("/\\;%#?")


class RefusedTargetError(ValueError):
    """The target is refused. The text says why and never quotes it."""


@dataclass(frozen=True)
class Target:
    """A request target as it was sent; `path` is what stands before the first question mark."""

    raw: str

    @property
    def path(self) -> str:
        return self.raw.partition("?")[0]

    @property
    def query(self) -> str:
        return self.raw.partition("?")[2]


def read(raw: str) -> Target:
    """Check a target in origin-form (RFC 9112 §3.2.1). Raises RefusedTargetError."""
    if not raw.startswith("/"):
        raise RefusedTargetError("the request target is not a path")
    if not _VISIBLE.fullmatch(raw) or "#" in raw:
        raise RefusedTargetError("the request target has a character that no URI has")
    target = Target(raw)
    _check_path(target.path)
    return target


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise RefusedTargetError("the path has a character or a percent-encoding that is not allowed")
    if "//" in path:
        raise RefusedTargetError("the path has an empty segment")
    for segment in path.split("/"):
        _check_segment(segment)


def _check_segment(segment: str) -> None:
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise RefusedTargetError("the path is not UTF-8") from None
    if decoded in (".", ".."):
        raise RefusedTargetError("the path has a dot segment")
    if any(character in _AMBIGUOUS_WHEN_ENCODED or unicodedata.category(character) == "Cc" for character in decoded):
        raise RefusedTargetError("the path has an encoded delimiter or control character")
