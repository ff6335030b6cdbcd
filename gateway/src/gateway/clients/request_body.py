"""A request's body as it arrives: what of it belongs to the request, and until when more must have come."""

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
        """What was fed and stands behind the body."""
        return self._reader.rest

    def feed(self, data: bytes) -> bytes:
        """The content that `data` holds. Raises MalformedMessageError."""
        self._received += len(data)
        return self._reader.feed(data)

    def passes_over(self, data: bytes) -> bool:
        """Whether all of the body that is still missing is in `data`, and nobody needs it."""
        try:
            self.feed(data)
        except MalformedMessageError:
            return False
        return self.complete

    def deadline(self, now: float) -> float:
        """Until when to wait for more, but not for ever for a trickle: once it has begun a body has a least rate."""
        if self._begun is None:
            self._begun = now
        return min(now, self._begun + self._received / self._rate) + self._patience
