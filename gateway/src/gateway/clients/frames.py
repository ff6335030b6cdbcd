"""The frames of a WebSocket (RFC 6455 §5): where one ends, and those that the gateway makes itself."""

import os

PING = b"\x89\x00"  # as it goes to a client


class Frames:
    """Follows a stream of frames, to know when one has ended: only then may one of ours be put in between."""

    __slots__ = ("_header", "_missing")

    def __init__(self) -> None:
        self._header = bytearray()
        self._missing = 0

    @property
    def between(self) -> bool:
        return not self._missing and not self._header

    def feed(self, data: bytes) -> int:
        """Follow `data`; how many of its bytes end with its first boundary, 0 where it has none."""
        position, boundary = 0, 0
        while position < len(data):
            if self._missing:
                step = min(self._missing, len(data) - position)
                self._missing -= step
                position += step
            else:
                self._header.append(data[position])
                position += 1
                self._read_header()
            if self.between and not boundary:
                boundary = position
        return boundary

    def _read_header(self) -> None:
        header = self._header
        if len(header) < 2:
            return
        code = header[1] & 0x7F
        size = {126: 2, 127: 8}.get(code, 0)
        if len(header) < 2 + size:
            return
        length = int.from_bytes(header[2 : 2 + size], "big") if size else code
        self._missing = length + (4 if header[1] & 0x80 else 0)
        header.clear()


def close_frame(code: int, *, masked: bool) -> bytes:
    """A close frame (RFC 6455 §5.5.1), masked as what goes to a server must be."""
    payload = code.to_bytes(2, "big")
    if not masked:
        return b"\x88\x02" + payload
    mask = os.urandom(4)
    return b"\x88\x82" + mask + bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))
