"""A request's body as it arrives: its content, and the time by which more of it must have come."""

from servicekit.http1.parser import ChunkedBody, LengthBody, MalformedMessageError


class RequestBody:
    """Times are in seconds on the event loop's clock, `rate` is in bytes a second."""

    __slots__ = ("_begun", "_patience", "_rate", "_reader", "_received")

    def __init__(self, reader: LengthBody | ChunkedBody, patience: float, rate: int) -> None:
        self._reader = reader
        self._patience = patience
        self._rate = rate
        self._begun: float | None = None
        self._received = 0

    @property
    def complete(self) -> bool:
        return self._reader.complete

    @property
    def rest(self) -> bytes:
        """The bytes that were fed and lie behind the body."""
        return self._reader.rest

    def feed(self, data: bytes) -> bytes:
        """The content that `data` holds. Raises MalformedMessageError."""
        self._received += len(data)
        return self._reader.feed(data)

    def passes_over(self, data: bytes) -> bool:
        """Read the rest of a body that nobody needs. True if all that was missing is in `data`."""
        try:
            self.feed(data)
        except MalformedMessageError:
            return False
        return self.complete

    def deadline(self, now: float) -> float:
        """The time until which to wait for more. Once a body has begun it has a least rate, so a trickle ends too."""
        if self._begun is None:
            self._begun = now
        return min(now, self._begun + self._received / self._rate) + self._patience
