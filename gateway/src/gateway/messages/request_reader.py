"""Reads request heads from the data of a connection, however it is split into packets."""

from gateway.messages.parser import RequestHead, check_beginning
from gateway.messages.request import Request
from servicekit.http1.head_reader import HeadReader
from servicekit.http1.parser import MalformedMessageError

# Each packet costs about as much as a small request. This allows an ordinary head that is sent byte by byte, and the
# largest head in packets of 64 bytes.
MOST_PACKETS = 1024


class RequestReader:
    """Reads the heads of one connection."""

    __slots__ = ("_head", "_packets")

    def __init__(self) -> None:
        self._head = HeadReader()
        self._packets = 0

    @property
    def begun(self) -> bool:
        """True if a head has arrived in part."""
        return bool(self._head.received)

    def feed(self, data: bytes) -> tuple[Request, bytes] | None:
        """A request and the bytes that follow its head, or None if the head is still incomplete.

        Raises MalformedMessageError.
        """
        known = len(self._head.received)
        if not known:
            data = data.removeprefix(b"\r\n")  # which some clients send after a body (RFC 9112 §2.2)
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
