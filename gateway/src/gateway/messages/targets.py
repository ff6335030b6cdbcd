"""The refusal of request targets that two programs could read as two different paths."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes

from gateway.messages.refusals import malformed

# RFC 3986 pchar without ";", which some servers treat as the start of a parameter outside the path.
_PATH = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})+")
_AMBIGUOUS_WHEN_ENCODED = frozenset("/\\;%#?")


def check_path(path: bytes) -> None:
    """Check the path of a target, which must have origin-form (RFC 9112 §3.2.1). Raises RefusedError.

    The parser has checked that the target consists of visible ASCII characters and has no fragment.
    """
    if not path.startswith(b"/"):
        raise malformed("the request target is not a path")
    if not _PATH.fullmatch(path):
        raise malformed("the path has a character or a percent-encoding that is not allowed")
    if b"//" in path:
        raise malformed("the path has an empty segment")
    if b"%" in path or b"/." in path:
        for segment in path.split(b"/"):
            _check_segment(segment)


def _check_segment(segment: bytes) -> None:
    try:
        decoded = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise malformed("the path is not UTF-8") from None
    if decoded in (".", ".."):
        raise malformed("the path has a dot segment")
    if any(character in _AMBIGUOUS_WHEN_ENCODED or unicodedata.category(character) == "Cc" for character in decoded):
        raise malformed("the path has an encoded delimiter or control character")
