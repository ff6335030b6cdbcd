"""Reads one response after another from an upstream's connection, and passes their parts on as they arrive."""

from collections.abc import Callable
from typing import NoReturn, Protocol

from servicekit.http1.head_reader import HeadReader
from servicekit.http1.parser import MAX_HEAD, ChunkedBody, LengthBody, MalformedMessageError, ResponseHead

_SWITCHING = 101
_MOST_INTERIM = 32


class ResponseSink(Protocol):
    """The receiver of a response's parts."""

    def on_head(self, head: ResponseHead) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...


class ResponseParser:
    """Reads one response after another from an upstream's connection and passes their parts to `sink`.

    Interim responses are skipped. After a 101 that was asked for, every byte is passed on as body.
    """

    __slots__ = ("_body", "_feed", "_heads", "_interim", "_method", "_sink", "_upgrades", "keep_alive")

    def __init__(self, sink: ResponseSink) -> None:
        self._sink = sink
        self._heads = HeadReader()
        self._method = b""
        self._interim = 0  # responses skipped since the last request
        self._upgrades = False
        self._body: LengthBody | ChunkedBody = LengthBody(0)
        self._feed: Callable[[bytes], None] = self._feed_nothing
        self.keep_alive = True

    def expect(self, method: bytes, *, upgrade: bool = False) -> None:
        """Announce a request before it is sent; a response without one is an error."""
        self._method = method
        self._interim = 0
        self._upgrades = upgrade
        self._feed = self._feed_head

    def feed(self, data: bytes) -> None:
        """Read bytes of the connection. Raises MalformedMessageError for malformed or unsolicited ones."""
        self._feed(data)

    def finish(self) -> bool:
        """Report the end of the connection. Returns True if that ends the response, after telling `sink`."""
        if self._feed == self._feed_until_close:
            self._end(keep_alive=False)
            return True
        return False

    def _feed_nothing(self, _data: bytes) -> NoReturn:
        raise MalformedMessageError("an answer to nothing")

    def _feed_head(self, data: bytes) -> None:
        found = self._heads.feed(data)
        if found is None:
            if len(self._heads.received) > MAX_HEAD:
                raise MalformedMessageError("the head is too large")
            return
        head, rest = ResponseHead(found[0], self._method), found[1]
        if head.status < 200:
            self._pass_over(head, rest)
            return
        self._start_body(head, rest)

    def _pass_over(self, head: ResponseHead, rest: bytes) -> None:
        if head.status == _SWITCHING:
            if not self._upgrades:
                raise MalformedMessageError("a change of protocol that nobody asked for")
            self._feed = self._sink.on_body
            self.keep_alive = False
            self._sink.on_head(head)
        elif head.status < 100:
            raise MalformedMessageError("no such status")
        self._interim += 1
        if self._interim > _MOST_INTERIM:
            raise MalformedMessageError("there are too many interim responses")
        if rest:
            self._feed(rest)

    def _start_body(self, head: ResponseHead, rest: bytes) -> None:
        self.keep_alive = head.keep_alive
        if head.chunked:
            self._body = ChunkedBody.of_response()
            self._feed = self._feed_body
        elif head.length is None:
            self._feed = self._feed_until_close
        else:
            self._body = LengthBody(head.length)
            self._feed = self._feed_body
            head.followed = bool(rest) or head.length == 0
        self._sink.on_head(head)
        if rest or head.length == 0:
            self._feed(rest)

    def _feed_body(self, data: bytes) -> None:
        content = self._body.feed(data)
        if content:
            self._sink.on_body(content)
        if self._body.complete:
            self._end(keep_alive=self.keep_alive and not self._body.excess)

    def _feed_until_close(self, data: bytes) -> None:
        self._sink.on_body(data)

    def _end(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self._feed = self._feed_nothing
        self._sink.on_end()
