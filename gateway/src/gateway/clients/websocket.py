"""A WebSocket through the gateway (RFC 6455): bytes both ways, and an end that its peers understand."""

import asyncio
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.verdicts.verification import Allow, Deny, Verdict
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import UpstreamConnection

if TYPE_CHECKING:
    from gateway.clients.connection import Connection

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
# How long a peer may take to end after it was told to.
_CLOSING_SECONDS = 2.0


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


class Tunnel:
    """A WebSocket between a client's connection and an upstream's, as long as the client's token is good.

    `ask(self)` asks for the verdict, which comes to `on_verdict`; it is asked again `interval` seconds after each.
    """

    awaiting = False

    def __init__(
        self,
        client: "Connection",
        upstream: UpstreamConnection,
        ask: Callable[["Tunnel"], None],
        interval: float,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._ask = ask
        self._interval = interval
        self._time = asyncio.get_running_loop().time
        self._expires_at = math.inf  # of the token, where a verdict has told
        self._up, self._down = Frames(), Frames()
        self._code: int | None = None  # why it is being ended, once it is
        self._told = False
        client.deadline = self._time() + interval

    # From the client

    def from_client(self, data: bytes) -> None:
        if self._code is None:
            self._up.feed(data)
            self._upstream.write(data)

    def on_client_congested(self) -> None:
        self._upstream.pause()

    def on_client_drained(self) -> None:
        self._upstream.resume()

    def on_client_eof(self) -> None:
        self._client.abort()

    def on_client_gone(self) -> None:
        self._code = GOING_AWAY
        self._upstream.abort()

    def on_drain(self) -> None:
        self._end(GOING_AWAY)

    def expire(self) -> None:
        """Ask whether the token is still good; or the client did not end when it was told to."""
        if self._code is not None:
            self._client.abort()
        else:
            self._client.deadline = math.inf
            self._ask(self)

    def on_verdict(self, verdict: Verdict) -> None:
        if self._code is not None:
            return
        now = self._time()
        if isinstance(verdict, Allow):
            self._expires_at = now + verdict.lifetime
        if isinstance(verdict, Deny) or self._expires_at <= now:
            self._end(POLICY_VIOLATION)
        else:
            self._client.deadline = now + self._interval

    # From the upstream

    def on_body(self, data: bytes) -> None:
        boundary = self._down.feed(data)
        if self._code is None:
            self._client.write(data)
        elif not self._told:
            self._client.write(data[:boundary] if boundary else data)
            if boundary:
                self._tell_client()

    def on_end(self) -> None:
        self._client.close()

    def on_lost(self, fault: str) -> None:  # noqa: ARG002 - the client sees the same end
        self._client.close()

    def on_congested(self) -> None:
        self._client.pause()

    def on_drained(self) -> None:
        self._client.resume()

    def on_head(self, head: ResponseHead) -> None:
        """The head was the exchange's: there is no second one."""

    def on_connection(self, connection: UpstreamConnection) -> None:
        """It has one."""

    def on_no_connection(self, late: bool) -> None:
        """It has one."""

    # Ends

    def _end(self, code: int) -> None:
        """Tell both sides why, each at the end of a frame; a frame that never ends is cut off."""
        if self._code is not None:
            return
        self._code = code
        self._client.deadline = self._time() + _CLOSING_SECONDS
        if self._up.between:
            self._upstream.write(close_frame(code, masked=True))
        if self._down.between:
            self._tell_client()

    def _tell_client(self) -> None:
        self._told = True
        self._client.write(close_frame(self._code or GOING_AWAY, masked=False))
        self._client.end_writing()
