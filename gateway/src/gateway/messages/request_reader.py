"""Reads one request's head after another from what a client sends, however it is cut into packets."""

from gateway.messages.parser import RequestHead, check_beginning
from gateway.messages.request import Request
from servicekit.http1.head_reader import HeadReader
from servicekit.http1.parser import MalformedMessageError

# Each packet costs about as much as a whole small request. A client that writes a head of ordinary size byte by byte
# stays below this, and so does the largest head in packets of 64 bytes.
MOST_PACKETS = 1024


class RequestReader:
    """Collects the heads of one connection."""

    __slots__ = ("_head", "_packets")

    def __init__(self) -> None:
        self._head = HeadReader()
        self._packets = 0

    @property
    def begun(self) -> bool:
        """True if a part of a head is there, and not all of it."""
        return bool(self._head.received)

    def feed(self, data: bytes) -> tuple[Request, bytes] | None:
        """A request and the bytes behind its head, None while `data` does not complete the head.

        Raises MalformedMessageError.
        """
        known = len(self._head.received)
        if not known:
            data = data.removeprefix(b"\r\n")  # which some clients send behind a body (RFC 9112 §2.2)
        found = self._head.feed(data)
        if found is not None:
            self._packets = 0
            return Request(RequestHead(found[0])), found[1]
        self._packets += 1
        if self._packets > MOST_PACKETS:
            raise MalformedMessageError("the head came in too many packets")
        if self._head.received:
            check_beginning(self._head.received, known)
        return None
