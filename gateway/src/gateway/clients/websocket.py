"""A WebSocket through the gateway (RFC 6455): bytes in both directions, and an orderly close."""

import asyncio
import math
from collections.abc import Callable

from gateway.clients.connection import Connection
from gateway.clients.frames import PING, Frames, close_frame
from gateway.clients.holder import Holder
from gateway.verdicts.verification import Allow, Deny, Verdict
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import UpstreamConnection

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
# Seconds in which a peer must close the connection after a close frame.
_CLOSING_SECONDS = 2.0
# A client that has sent nothing for this long is pinged, and has as long to answer. Many NAT gateways and proxies drop
# connections that have been idle for a minute; the ping also keeps these open.
QUIET_SECONDS = 30.0
# Frames are averaged over this many seconds, since frames that were delayed may arrive all at once.
_FRAMES_SECONDS = 10.0
# Seconds before auth-service is asked again after it could not give a verdict.
_RETRY_SECONDS = 1.0


class Tunnel(Holder):
    """A WebSocket between a client's connection and an upstream's, for as long as the client's token is valid.

    `allow` is the verdict on its request. When a verdict is `interval` seconds old, `ask(self)` asks for another one,
    which is passed to `on_verdict`. `end()` is called when the client has gone. A client that sends more than `frames`
    per second is disconnected, since small frames cost the gateway and the upstream more than their bytes.
    """

    awaiting = False

    def __init__(
        self,
        client: Connection,
        upstream: UpstreamConnection,
        allow: Allow,
        ask: Callable[["Tunnel"], None],
        end: Callable[[], None],
        interval: float,
        frames: int,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._ask = ask
        self._on_end = end
        self._interval = interval
        self._frame_seconds = 1 / frames
        self._time = asyncio.get_running_loop().time
        self._expires_at = allow.expires_at
        self._ask_at = allow.given_at + interval  # math.inf while a verdict is being asked for
        self._heard_at = self._time()  # when the client last sent or read something
        self._paid_until = -math.inf  # advanced by `_frame_seconds` for each frame; must not pass the present time
        self._pinged_at = -math.inf
        self._ping_owed = False  # to be sent at the end of the current frame
        self._up, self._down = Frames(), Frames()
        self._code: int | None = None  # the close code, once the WebSocket is being closed
        self._told = False
        self._wait()

    # From the client

    def on_client_data(self, data: bytes) -> None:
        if self._code is None:
            self._hear()
            self._up.feed(data)
            # The answer to the gateway's ping is passed on with the rest: to the upstream it is an unsolicited pong,
            # which RFC 6455 §5.5.3 allows and which needs no answer.
            self._upstream.write(data)
            if self._floods():
                self._end(POLICY_VIOLATION)

    def on_client_congested(self) -> None:
        self._upstream.pause()

    def on_client_drained(self) -> None:
        self._hear()  # it has read what was written
        self._upstream.resume()

    def on_client_eof(self) -> None:
        self._client.abort()

    def on_client_gone(self) -> None:
        self._code = GOING_AWAY
        self._upstream.abort()
        self._on_end()

    def on_shutdown(self) -> None:
        self._end(GOING_AWAY)

    def _floods(self) -> bool:
        """Count the frames that have just arrived. True if they are too many."""
        now, frames = self._heard_at, self._up.take_number()
        self._paid_until = max(self._paid_until, now - _FRAMES_SECONDS) + frames * self._frame_seconds
        return self._paid_until > now

    # Time

    def expire(self) -> None:
        """Called when the token expires, a verdict or a ping is due, or a peer has not closed in time."""
        now = self._time()
        if self._code is not None:
            self._client.abort()
        elif self._expires_at <= now:
            self._end(POLICY_VIOLATION)
        else:
            self._look_after_client(now)
            if self._ask_at <= now:
                self._ask_at = math.inf
                self._ask(self)
            self._wait()

    def on_verdict(self, verdict: Verdict) -> None:
        if isinstance(verdict, Deny):
            self._end(POLICY_VIOLATION)
        elif isinstance(verdict, Allow):
            self._expires_at = verdict.expires_at
            self._ask_at = verdict.given_at + self._interval
        else:
            self._ask_at = self._time() + min(self._interval, _RETRY_SECONDS)
        self._wait()

    def _wait(self) -> None:
        if self._code is None:
            self._client.deadline = min(self._expires_at, self._ask_at, self._quiet_until())

    def _hear(self) -> None:
        self._heard_at = self._time()
        self._ping_owed = False

    def _quiet_until(self) -> float:
        """The time at which a silent client is pinged, or disconnected if it has been pinged already."""
        return max(self._heard_at, self._pinged_at) + QUIET_SECONDS

    def _look_after_client(self, now: float) -> None:
        if now < self._quiet_until():
            return
        if self._pinged_at > self._heard_at:
            self._end(GOING_AWAY)
        else:
            self._ping_owed = True
            self._pinged_at = now
            if self._down.between:
                self._ping()

    def _ping(self) -> None:
        self._ping_owed = False
        self._pinged_at = self._time()
        self._client.write(PING)

    # From the upstream

    def on_body(self, data: bytes) -> None:
        boundary = self._down.feed(data)
        if self._code is not None:
            self._pass_last(data, boundary)
        elif self._ping_owed:
            self._pass_with_ping(data, boundary)
        else:
            self._client.write(data)

    def _pass_with_ping(self, data: bytes, boundary: int) -> None:
        self._pinged_at = self._time()  # the client cannot be pinged within a long frame
        if boundary:
            self._client.write(data[:boundary])
            self._ping()
            data = data[boundary:]
        self._client.write(data)

    def _pass_last(self, data: bytes, boundary: int) -> None:
        """Pass on the rest of the current frame, then the close frame."""
        if not self._told:
            self._client.write(data[:boundary] if boundary else data)
            if boundary:
                self._tell_client()

    def on_end(self) -> None:
        self._client.close()

    def on_lost(self, fault: str) -> None:  # noqa: ARG002 - the client's connection is closed either way
        self._client.close()

    def on_congested(self) -> None:
        self._client.pause()

    def on_drained(self) -> None:
        self._client.resume()

    def on_head(self, head: ResponseHead) -> None:
        """Not called: the exchange has read the only head."""

    def on_connection(self, connection: UpstreamConnection) -> None:
        """Not called: the tunnel has its connection."""

    def on_no_connection(self, fault: str) -> None:
        """Not called: the tunnel has its connection."""

    # Ends

    def _end(self, code: int) -> None:
        """Send both sides a close frame, each at the end of its current frame. A frame that does not end is cut off."""
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
