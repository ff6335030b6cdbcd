"""The only wrapper of httptools (llhttp): the head of a message and the framing of its body, in both directions.

llhttp is given exactly one head at a time, so bytes after a message are never read as part of it. A body of declared
length is counted; only a chunked one goes through llhttp.
"""

from http import HTTPStatus

import httptools

HEAD_END = b"\r\n\r\n"
MAX_HEAD = 64 * 1024
MAX_FIELD = 8190
MAX_FIELDS = 128

Fields = list[tuple[bytes, bytes]]

# A chunk of one byte needs five bytes of framing. A body with this many for each byte is not sent for its content.
_FRAMING_PER_BYTE = 16
_BODILESS_STATUSES = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))


class MalformedMessageError(ValueError):
    """The message is refused. `status` is the answer to a client; the text quotes nothing of the message."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Head:
    """Receives llhttp's events while it reads one head."""

    __slots__ = ("fields", "heads", "target")

    def __init__(self) -> None:
        self.fields: Fields = []
        self.target = b""
        self.heads = 0

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.heads += 1


def parse_head(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, head: Head, data: bytes) -> Fields:
    """The head's fields. Raises MalformedMessageError if they are malformed, too many, too large or not UTF-8."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # the parser does not decide whether to upgrade
    except httptools.HttpParserError:
        raise MalformedMessageError("the head is malformed") from None
    if head.heads != 1:
        raise MalformedMessageError("the head is malformed")
    fields = head.fields
    if len(fields) > MAX_FIELDS:
        raise MalformedMessageError("there are too many headers", 431)
    if len(data) > MAX_FIELD and any(len(value) > MAX_FIELD for _, value in fields):
        raise MalformedMessageError("a header is too large", 431)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise MalformedMessageError("a header is not UTF-8") from None
    return fields


class LengthBody:
    """A body of declared length. `rest` holds the bytes that were fed after its end."""

    __slots__ = ("_missing", "complete", "rest")

    def __init__(self, length: int) -> None:
        self._missing = length
        self.complete = length == 0
        self.rest = b""

    @property
    def excess(self) -> bool:
        return bool(self.rest)

    def feed(self, data: bytes) -> bytes:
        """The part of `data` that belongs to the body."""
        if len(data) > self._missing:
            data, self.rest = data[: self._missing], data[self._missing :]
        self._missing -= len(data)
        self.complete = self._missing == 0
        return data


class ChunkedBody:
    """A chunked body, without its extensions and trailers, which nobody asked for.

    Bytes after the body cannot be separated from it, so its connection cannot be reused: `excess` tells of such bytes.
    """

    __slots__ = ("_data", "_framing_left", "_parser", "complete", "excess", "rest")

    def __init__(self, opening: bytes = b"POST / HTTP/1.1", *, response: bool = False) -> None:
        self._data: list[bytes] = []
        self.complete = False
        self.excess = False
        self.rest = b""
        self._framing_left = MAX_HEAD  # bytes of sizes, extensions and trailers
        self._parser = httptools.HttpResponseParser(self) if response else httptools.HttpRequestParser(self)
        self._parser.feed_data(opening + b"\r\nTransfer-Encoding: chunked\r\n\r\n")

    @classmethod
    def of_response(cls) -> "ChunkedBody":
        return cls(b"HTTP/1.1 200 OK", response=True)

    def feed(self, data: bytes) -> bytes:
        """The content in `data`. Raises MalformedMessageError."""
        if self.complete:
            self.excess = True
            return b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.complete:
                raise MalformedMessageError("the body is malformed") from None
        content = b"".join(self._data)
        self._data.clear()
        self._framing_left += len(content) * (_FRAMING_PER_BYTE + 1) - len(data)
        if self._framing_left < 0 and not self.complete:
            raise MalformedMessageError("the body is framed at too great a length")
        return content

    def on_message_begin(self) -> None:
        self.excess = self.complete

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._data.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


class ResponseHead:
    """The parsed head of a response. If `length` is None and `chunked` is false, the body ends with the connection.

    `declared_length` is the `Content-Length`, even if no body follows because of HEAD or the status 304.
    `followed` is true if a part of the body, or its end, is passed on right after the head.
    """

    __slots__ = ("chunked", "declared_length", "fields", "followed", "keep_alive", "length", "status")

    def __init__(self, data: bytes, method: bytes) -> None:
        """Read `data`, which ends with the head's empty line. Raises MalformedMessageError."""
        head = Head()
        parser = httptools.HttpResponseParser(head)
        self.fields = parse_head(parser, head, data)
        self.status: int = parser.get_status_code()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise MalformedMessageError("the version of HTTP is not supported")
        self.keep_alive = version == "1.1"
        self.length: int | None = None
        self.chunked = False
        self.followed = False
        for name, value in self.fields:
            if len(name) in _FRAMING_LENGTHS:
                self._read_framing(name.lower(), value)
        self.declared_length = self.length if self.status != HTTPStatus.NO_CONTENT else None
        if method == b"HEAD" or self.status in _BODILESS_STATUSES:
            self.length, self.chunked = 0, False

    def _read_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self.length = int(value)
        elif name == b"transfer-encoding":
            if self.chunked or value.strip().lower() != b"chunked" or not self.keep_alive:
                raise MalformedMessageError("the body is framed ambiguously")
            self.chunked = True
        elif name == b"connection" and b"close" in value.lower():
            self.keep_alive = False


_FRAMING_LENGTHS = frozenset((len("content-length"), len("transfer-encoding"), len("connection")))
