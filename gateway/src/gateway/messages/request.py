"""A request's head, and the head that is sent to an upstream, which is written from its parts."""

import re

from gateway.messages.headers import FROM_CLIENT, Headers, sort, tokens
from gateway.messages.parser import RequestHead
from servicekit.http1.parser import ChunkedBody, LengthBody, MalformedMessageError

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_BODILESS_METHODS = (b"GET", b"HEAD")
# Methods for which the absence of a body is stated (RFC 9110 §8.6).
_METHODS_WITH_LENGTH = (b"POST", b"PUT", b"PATCH")
_NONE: list[bytes] = []


class Request:
    """A request's head. `lines` are the headers that pass, `headers` the values of those that the gateway reads.

    `path` and `query` are parts of `target`, which is forwarded byte for byte.
    """

    __slots__ = (
        "authorization",
        "chunked",
        "expects_continue",
        "headers",
        "host",
        "keep_alive",
        "length",
        "lines",
        "method",
        "minor",
        "path",
        "query",
        "target",
        "upgrades",
    )

    def __init__(self, head: RequestHead) -> None:
        """Raises MalformedMessageError if another server could read the head differently (400, 417)."""
        self.method = head.method
        self.minor = head.minor
        self.target = head.target
        self.path, mark, query = head.target.partition(b"?")
        self.query = mark + query
        self.lines, headers = sort(head.fields, FROM_CLIENT)
        self.headers: Headers = headers
        self.authorization = headers.get(b"authorization", _NONE)
        self.host = _host(headers.get(b"host", _NONE), head.minor)
        self.length, self.chunked = 0, False
        if b"content-length" in headers:
            self.length = int(headers[b"content-length"][0])
        if b"transfer-encoding" in headers:
            _check_transfer_encoding(headers, head.minor)
            self.chunked = True
        if (self.length or self.chunked) and head.method in _BODILESS_METHODS:
            raise MalformedMessageError("a request with this method has no body")
        self.expects_continue = b"expect" in headers and _expects_continue(headers[b"expect"], head.minor)
        self.upgrades = b"upgrade" in headers
        # After an Upgrade the client may already use another protocol, and nothing is read after a chunked body.
        self.keep_alive = head.minor == 1 and not self.upgrades and not self.chunked
        if b"connection" in headers and b"close" in tokens(headers[b"connection"]):
            self.keep_alive = False

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    def body(self) -> LengthBody | ChunkedBody:
        """A reader of the body that follows this head."""
        return ChunkedBody() if self.chunked else LengthBody(self.length)

    def first(self, name: bytes) -> bytes:
        """The first value of a header that the gateway reads, or b"" if there is none."""
        values = self.headers.get(name)
        return values[0] if values else b""

    def asks_for_websocket(self) -> bool:
        """True if this is an opening handshake of RFC 6455 §4.1, as far as a proxy has to check."""
        return (
            self.method == b"GET"
            and self.minor == 1
            and tokens(self.headers[b"upgrade"]) == {b"websocket"}
            and b"upgrade" in tokens(self.headers.get(b"connection", _NONE))
        )

    def head_for(self, upstream_host: bytes, own_lines: bytes) -> bytes:
        """The head to send to an upstream; `own_lines` are the gateway's own header lines."""
        if self.chunked:
            framing = b"transfer-encoding: chunked\r\n\r\n"
        elif b"content-length" in self.headers or self.method in _METHODS_WITH_LENGTH:
            framing = b"content-length: %d\r\n\r\n" % self.length
        else:
            framing = b"\r\n"
        start = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (self.method, self.target, upstream_host)
        return b"".join((start, *self.lines, own_lines, framing))


def _host(values: list[bytes], minor: int) -> bytes:
    if len(values) != 1:
        if values or minor:
            raise MalformedMessageError("there must be one Host header")
        return b""
    if values[0] not in _HOSTS:
        _check_host(values[0])
    return values[0]


# A few hosts that are known to be well formed; a gateway has only one or two names.
_HOSTS: set[bytes] = set()


def _check_host(value: bytes) -> None:
    host = _HOST.fullmatch(value)
    if host is None or int(host.group(1) or 0) > 65535:
        raise MalformedMessageError("the Host header is malformed")
    if len(_HOSTS) >= 64:
        _HOSTS.clear()  # otherwise 64 odd ones could keep the common ones out permanently
    _HOSTS.add(value)


def _check_transfer_encoding(headers: Headers, minor: int) -> None:
    """Accept only `chunked` (RFC 9112 §6.1), since servers are known to read every other spelling differently."""
    if minor == 0 or b"content-length" in headers:
        raise MalformedMessageError("the body is framed ambiguously")
    if [coding.lower() for coding in headers[b"transfer-encoding"]] != [b"chunked"]:
        raise MalformedMessageError("the transfer coding is not supported")


def _expects_continue(values: list[bytes], minor: int) -> bool:
    if any(value.lower() != b"100-continue" for value in values):
        raise MalformedMessageError("the expectation is not known", 417)
    return minor == 1
