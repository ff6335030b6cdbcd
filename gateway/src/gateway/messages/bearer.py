"""The bearer token of a request (RFC 6750 §2): in one header, with exact syntax, never in the query."""

import re
from collections.abc import Sequence
from urllib.parse import unquote_plus

from gateway.messages.refusals import malformed_bearer

MAX_LENGTH = 4 * 1024

_SCHEME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")


def is_token(text: bytes) -> bool:
    """True if `text` has the syntax of a bearer token, and can be written into a header."""
    return _TOKEN.fullmatch(text) is not None


def single(values: Sequence[bytes]) -> bytes | None:
    """The only `Authorization` value of a request, or None. Raises RefusedError if there are several."""
    if len(values) > 1:
        raise malformed_bearer("Authorization is given twice")
    return values[0] if values else None


def read(values: Sequence[bytes], query: bytes) -> bytes | None:
    """The `Authorization` value to verify, or None if there is none or it has another scheme.

    `query` includes its question mark. Raises RefusedError.
    """
    value = single(values)
    if value is None:
        return None
    scheme = _SCHEME.match(value)
    if scheme is None:
        raise malformed_bearer("Authorization has no scheme")
    if scheme.group().lower() != b"bearer":
        return None
    _check_token(value[scheme.end() :])
    if query and _names_a_token(query[1:]):
        raise malformed_bearer("a token is given in the header and in the query")
    return value


def _check_token(rest: bytes) -> None:
    if len(rest) > MAX_LENGTH + 1:
        raise malformed_bearer("the bearer token is too long")
    if not rest.startswith(b" ") or not _TOKEN.fullmatch(rest, 1):
        raise malformed_bearer("the bearer token is malformed")


def _names_a_token(query: bytes) -> bool:
    return any(unquote_plus(pair.partition("=")[0]) == "access_token" for pair in query.decode("ascii").split("&"))
