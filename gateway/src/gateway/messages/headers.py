"""The headers that pass the gateway in each direction, and those that it reads itself."""

import re

from servicekit.http1.parser import Fields, MalformedMessageError

_HOP_BY_HOP = (
    b"connection|http2-settings|keep-alive|proxy-authenticate|proxy-authorization|proxy-connection|te|trailer"
    b"|transfer-encoding|upgrade"
)
_FRAMING = b"content-length|expect|host"
# Only the gateway states who sent a request and from where. Upstreams do not use cookies.
_CLAIMS = (
    b"authorization|cf-connecting-ip|client-ip|cookie|forwarded|remote-user|true-client-ip|x-accel-.*|x-auth-.*"
    b"|x-client-ip|x-cluster-client-ip|x-forwarded-.*|x-host|x-http-method|x-http-method-override|x-internal-.*"
    b"|x-method-override|x-original-.*|x-parley-.*|x-real-ip|x-remote-.*|x-request-id|x-rewrite-url|x-user-.*"
    b"|x-webauth-.*"
)
_TRACE = b"traceparent|tracestate"
_FROM_CLIENT_DROPPED = re.compile(b"|".join((_HOP_BY_HOP, _FRAMING, _CLAIMS, _TRACE)))
_TO_CLIENT_DROPPED = re.compile(
    _HOP_BY_HOP + b"|access-control-.*|authorization|content-length|forwarded|server|x-accel-.*|x-auth-.*"
    b"|x-forwarded-.*|x-internal-.*|x-parley-.*|x-powered-by|x-request-id|x-user-.*"
)
_READ_OF_CLIENT = frozenset(
    b"accept accept-language access-control-request-method authorization connection content-length expect forwarded"
    b" host language origin traceparent tracestate transfer-encoding upgrade x-forwarded-for x-forwarded-proto"
    b" x-request-id".split()
)
# Fields of RFC 9110 that are not lists: if one is repeated, servers differ in which value they use.
_SINGLE_OF_CLIENT = frozenset(b"content-location content-range content-type etag max-forwards user-agent".split())
_READ_OF_UPSTREAM = frozenset((b"cache-control", b"connection"))

# Some servers map "_" or "." to "-" and would read X_User_Id as X-User-Id, so such names do not pass at all.
_NAME = re.compile(rb"[A-Za-z0-9-]+")


class Names(dict[bytes, tuple[bytes, bytes]]):
    """Maps a header's name, as received, to the beginning of its line and to its name in lower case.

    The first is empty if the header does not pass, the second if the gateway does not read it. Results are cached in
    two generations: when the newer one is full, it becomes the older one, from which names that are used again move to
    the new one. So a flood of odd names does not evict the common ones: a request has at most 128 headers, so filling a
    generation takes eight requests, in which the common names are used again.
    """

    _GENERATION = 1024
    _LONGEST = 64

    def __init__(
        self, dropped: re.Pattern[bytes], read: frozenset[bytes], single: frozenset[bytes], *, lower: bool
    ) -> None:
        super().__init__()
        self.single = single
        self._dropped = dropped
        self._read = read
        self._lower = lower
        self._older: dict[bytes, tuple[bytes, bytes]] = {}

    def __missing__(self, name: bytes) -> tuple[bytes, bytes]:
        found = self._older.get(name) or self._look_up(name)
        if len(name) <= self._LONGEST:
            if len(self) >= self._GENERATION:
                self._older = dict(self)
                self.clear()
            self[name] = found
        return found

    def _look_up(self, name: bytes) -> tuple[bytes, bytes]:
        lower = name.lower()
        passes = _NAME.fullmatch(name) and not self._dropped.fullmatch(lower)
        beginning = (lower if self._lower else name) + b": " if passes else b""
        return beginning, lower if lower in self._read or lower in self.single else b""


FROM_CLIENT = Names(_FROM_CLIENT_DROPPED, _READ_OF_CLIENT, _SINGLE_OF_CLIENT, lower=True)
TO_CLIENT = Names(_TO_CLIENT_DROPPED, _READ_OF_UPSTREAM, frozenset(), lower=False)

Headers = dict[bytes, list[bytes]]


def sort(fields: Fields, names: Names) -> tuple[list[bytes], Headers]:
    """The lines that pass, in order, and the values that the gateway reads, by name. Raises MalformedMessageError.

    A header that `Connection` names is meant for this hop only (RFC 9110 §7.6.1).
    """
    lines: list[bytes] = []
    headers: Headers = {}
    for name, value in fields:
        beginning, read = names[name]
        if value and value[-1] <= 0x20:
            value = value.rstrip(b" \t")
        if beginning:
            lines.append(b"%b%b\r\n" % (beginning, value))
        if not read:
            continue
        if read not in headers:
            headers[read] = [value]
        elif read in names.single:
            raise MalformedMessageError("a header that there is one of is given twice")
        else:
            headers[read].append(value)
    if b"connection" in headers and (nominated := tokens(headers[b"connection"]) - _OF_CONNECTION):
        lines = [line for line in lines if line.partition(b":")[0].lower() not in nominated]
    return lines, headers


_OF_CONNECTION = frozenset((b"close", b"keep-alive", b"upgrade"))


def tokens(values: list[bytes]) -> set[bytes]:
    """The members of a comma-separated list of tokens, in lower case."""
    return {token.strip(b" \t").lower() for value in values for token in value.split(b",")} - {b""}
