"""Finds the end of a head in bytes that arrive in parts, at a cost that grows with the bytes, not with the parts."""

from servicekit.http1.parser import HEAD_END


class HeadReader:
    """Collects one head after another, without searching or copying earlier parts again when a new one arrives.

    `received` holds the bytes of a head that is not complete yet.
    """

    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head with its empty line, and the bytes after it; None as long as `data` does not complete it."""
        if self.received:
            searched = max(0, len(self.received) - len(HEAD_END) + 1)
            self.received += data
            end = self.received.find(HEAD_END, searched) + len(HEAD_END)
            if end < len(HEAD_END):
                return None
            data = bytes(self.received)
            self.received.clear()
        else:
            end = data.find(HEAD_END) + len(HEAD_END)
            if end < len(HEAD_END):
                self.received += data
                return None
        rest = data[end:]
        return (data[:end] if rest else data), rest
