"""WebSocket frames (RFC 6455 §5): their boundaries in a stream, and the frames that the gateway sends itself."""

import os

PING = b"\x89\x00"  # unmasked, as sent to a client

# The size of a whole frame by the second byte of its header: mask flag and length; 0 where more bytes give the length.
_SIZES = tuple(2 + (code & 0x7F) + 4 * (code >> 7) if code & 0x7F < 126 else 0 for code in range(256))


class Frames:
    """Follows a stream of frames to find their boundaries, where the gateway may insert a frame of its own."""

    __slots__ = ("_header", "_missing", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._header = b""  # the beginning of an incomplete header
        self._missing = 0

    @property
    def between(self) -> bool:
        return not self._missing and not self._header

    def take_number(self) -> int:
        """The number of frames that have begun since the last call."""
        number, self._number = self._number, 0
        return number

    def feed(self, data: bytes) -> int:
        """Follow `data`. Returns the number of its bytes up to the first end of a frame, or 0 if there is none."""
        kept = len(self._header)
        return max(self._follow(self._header + data if kept else data) - kept, 0)

    def _follow(self, data: bytes) -> int:
        """Step from header to header without copying, since frames may be as small as two bytes."""
        position = boundary = self._missing
        end, number = len(data), 0
        while position + 1 < end:
            size = _SIZES[data[position + 1]] or _size_of_long(data, position)
            if not size:
                break
            position += size
            number += 1
            if not boundary:
                boundary = position
        self._number += number
        self._header = data[position:]
        self._missing = max(position - end, 0)
        return boundary if boundary <= end else 0


def _size_of_long(data: bytes, position: int) -> int:
    """The size of the frame at `position`, whose length takes two or eight more bytes; 0 if they are incomplete."""
    code = data[position + 1]
    start = position + 2
    end = start + (2 if code & 0x7F == 126 else 8)
    if end > len(data):
        return 0
    return end - position + int.from_bytes(data[start:end], "big") + 4 * (code >> 7)


def close_frame(code: int, *, masked: bool) -> bytes:
    """A close frame (RFC 6455 §5.5.1). A frame that is sent to a server must be masked."""
    payload = code.to_bytes(2, "big")
    if not masked:
        return b"\x88\x02" + payload
    mask = os.urandom(4)
    return b"\x88\x82" + mask + bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))
