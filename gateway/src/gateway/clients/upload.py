"""A request's body, which is buffered before the request is sent to an upstream."""

from typing import Protocol

from gateway.admission import GuardedQuota
from gateway.clients.connection import Connection
from gateway.clients.in_flight import InFlight
from gateway.clients.port import Limits
from gateway.messages import refusals
from gateway.messages.refusals import RefusedError
from gateway.messages.request import Request
from gateway.quota import Consumer
from servicekit.http import BODY_LIMIT
from servicekit.http1.parser import MalformedMessageError


class Uploader(Protocol):
    """The part of an exchange that its upload uses. Each of these calls ends the upload."""

    def on_body(self) -> None:
        """The body is complete, or too large."""

    def on_client_gone(self) -> None: ...
    def refuse(self, fault: RefusedError) -> None: ...


class Upload(InFlight):
    """Holds the connection of `client` while the body of `request` arrives.

    Until the body is complete, its bytes count against the quota `buffer`, in the share of `network`. `began_at` is the
    time at which reading began.
    """

    __slots__ = (
        "_buffer",
        "_content",
        "_held",
        "_limits",
        "_network",
        "_reader",
        "_received",
        "_uploader",
        "began_at",
        "complete",
    )

    def __init__(
        self,
        uploader: Uploader,
        client: Connection,
        limits: Limits,
        request: Request,
        buffer: GuardedQuota,
        network: Consumer,
    ) -> None:
        self.began_at = 0.0
        self.complete = False
        self._uploader = uploader
        self._client = client
        self._limits = limits
        self._reader = request.body()
        self._buffer = buffer
        self._network = network
        self._content = bytearray()
        self._received = 0
        self._held = 0

    @property
    def too_large(self) -> bool:
        """True if the body is larger than any service accepts."""
        return len(self._content) > BODY_LIMIT

    def start(self) -> None:
        client = self._client
        self.began_at = client.time()
        client.deadline = self._deadline(self.began_at)
        client.hand_over(self)

    def pass_over(self) -> bool:
        """Skip the body if all of it has arrived already. True if nothing of it is left to read."""
        client = self._client
        if self.complete or client.holder is self:
            return self.complete
        try:
            self._reader.feed(client.buffer)
        except MalformedMessageError:
            return False
        self.complete = self._reader.complete
        if self.complete:
            client.buffer = self._reader.rest
        return self.complete

    def framed(self, *, chunked: bool) -> bytes:
        """The body as it is sent to the upstream. An incomplete chunked body lacks its end."""
        content = bytes(self._content)
        if not chunked:
            return content
        end = b"0\r\n\r\n" if self.complete else b""
        return (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + end

    def give_back(self) -> None:
        """Give back the quota that the bytes took. Called once the body is sent on or not needed."""
        if self._held:
            self._buffer.give_back(self._network, self._held)
            self._held = 0

    # What happens on the connection

    def on_client_data(self, data: bytes) -> None:
        try:
            self._read(data)
        except MalformedMessageError as fault:
            self._uploader.refuse(refusals.malformed(str(fault)))
        except RefusedError as fault:
            self._uploader.refuse(fault)
        else:
            if self.complete or self.too_large:
                self._uploader.on_body()

    def on_client_gone(self) -> None:
        self._uploader.on_client_gone()

    def expire(self) -> None:
        self._uploader.refuse(refusals.malformed("the body did not arrive in time", 408))

    def _read(self, data: bytes) -> None:
        """Raises MalformedMessageError, or RefusedError if there is no room for the data."""
        client = self._client
        self._received += len(data)
        content = self._reader.feed(data)
        self.complete = self._reader.complete
        client.deadline = self._deadline(client.time())
        if self.complete:
            client.buffer = self._reader.rest
        elif content:
            self._buffer.claim(self._network, len(content))
            self._held += len(content)
        self._content += content

    def _deadline(self, now: float) -> float:
        """The time by which more of the body must arrive. There is a minimum rate, so that a trickle ends too."""
        limits = self._limits
        return min(now, self.began_at + self._received / limits.body_rate) + limits.body_timeout
