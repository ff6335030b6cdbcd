"""A request's body, gathered before an upstream hears of the request."""

from gateway.counters import Counters
from gateway.messages import refusals
from gateway.places import Holder, Places
from servicekit.http import BODY_LIMIT


class GatheredBody:
    """The part of a body that has come. Until it is whole, its bytes take room in `buffer`, counted for `network`."""

    __slots__ = ("_buffer", "_content", "_counters", "_held", "_network", "complete")

    def __init__(self, buffer: Places, network: Holder, counters: Counters) -> None:
        self.complete = False
        self._buffer = buffer
        self._network = network
        self._counters = counters
        self._content = bytearray()
        self._held = 0

    @property
    def too_large(self) -> bool:
        """True if it is more than any service reads."""
        return len(self._content) > BODY_LIMIT

    def add(self, content: bytes, *, complete: bool) -> None:
        """The next part; the last one where it is complete. Raises RefusedError where there is no room for it."""
        if content and not complete:
            self._hold(len(content))
        self._content += content
        self.complete = complete

    def framed(self, *, chunked: bool) -> bytes:
        """The body as it goes up. A chunked one that is not complete lacks its end."""
        content = bytes(self._content)
        if not chunked:
            return content
        end = b"0\r\n\r\n" if self.complete else b""
        return (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + end

    def give_back(self) -> None:
        """The body is sent on or not needed: give back the room that its bytes took."""
        if self._held:
            self._buffer.give_back(self._network, self._held)
            self._held = 0

    def _hold(self, size: int) -> None:
        if self._buffer.at_share(self._network, size):
            self._counters.refused_bodies_of_network += 1
            raise refusals.too_many("the network has too many bodies under way")
        if self._buffer.full(size):
            self._counters.refused_bodies += 1
            raise refusals.crowded("there are too many bodies under way")
        self._buffer.take(self._network, size)
        self._held += size
