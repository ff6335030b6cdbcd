"""The parsed head of a request, and the limits on its size."""

import re

import httptools

from servicekit.http1.parser import MAX_FIELD, MAX_HEAD, Head, MalformedMessageError, parse_head

# llhttp skips any number of spaces, and accepts versions and targets that other servers do not.
_REQUEST_LINE = re.compile(rb"[A-Z-]+ [\x21\x22\x24-\x7e]+ HTTP/1\.[01]\r\n")

_METHOD = re.compile(rb"[A-Z-]{1,32}(?: |$)")
_LONGEST_METHOD = 32
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
# The part of a head that shows whether its target is too long.
_LINE = MAX_FIELD + 64


class RequestHead:
    """A parsed request head. `fields` are in order; `minor` is the version's second digit."""

    __slots__ = ("fields", "method", "minor", "target")

    def __init__(self, data: bytes) -> None:
        """Read `data`, which ends with the head's empty line. Raises MalformedMessageError (400, 414 or 431)."""
        if len(data) > MAX_FIELD:
            _check_size(data)
        if not _REQUEST_LINE.match(data):
            raise MalformedMessageError("the request line is malformed")
        head = Head()
        parser = httptools.HttpRequestParser(head)
        self.fields = parse_head(parser, head, data)
        self.target = head.target
        self.method: bytes = parser.get_method()
        self.minor = 1 if parser.get_http_version() == "1.1" else 0


def check_beginning(data: bytearray, known: int) -> None:
    """Refuse the beginning of a head that cannot become valid. Its first `known` bytes have been checked before.

    Raises MalformedMessageError (400, 414 or 431).
    """
    if known <= _LONGEST_METHOD and not _METHOD.match(data):
        raise MalformedMessageError("the request line is malformed")
    if _BARE_LINE_FEED.search(data, known):
        raise MalformedMessageError("a line does not end as it must")
    if len(data) > MAX_FIELD:
        _check_size(data, known)


def _check_size(data: bytes | bytearray, known: int = 0) -> None:
    if known < _LINE:
        line = data[:_LINE].partition(b"\r\n")[0]
        target = line.partition(b" ")[2].partition(b" ")[0]
        if len(target) > MAX_FIELD:
            raise MalformedMessageError("the request target is too long", 414)
    if len(data) > MAX_HEAD:
        raise MalformedMessageError("the headers are too large", 431)
