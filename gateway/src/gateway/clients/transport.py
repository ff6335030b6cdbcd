"""The transport of a client's connection: writing, flow control, and closing."""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.clients.leaving import has_left
from servicekit.resets import reset


class ClientTransport(asyncio.Protocol):
    """A protocol with the methods of its transport.

    `write` takes bytes, `close` ends the connection once they are sent, and `abort` ends it at once. While reading is
    paused, the event loop does not notice when the client disconnects. Such connections are in `paused`, and their port
    calls `look` of each from time to time.
    """

    write: Callable[[bytes], None]
    abort: Callable[[], None]
    close: Callable[[], None]
    _transport: asyncio.Transport

    def __init__(self, paused: "set[ClientTransport]") -> None:
        self._paused = paused

    def attach(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self.abort = self._transport.abort
        self.close = self._transport.close

    def detach(self) -> None:
        """Called when the connection has ended."""
        self._paused.discard(self)

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self not in self._paused:
            self._paused.add(self)
            self._transport.pause_reading()

    def resume(self) -> None:
        if self in self._paused and not self._transport.is_closing():
            self._paused.discard(self)
            self._transport.resume_reading()

    def takes_more(self) -> bool:
        """True if all that was written has been sent. Otherwise the client counts as congested until it has."""
        if self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(high=0)
            return False
        return True

    @property
    def client_has_left(self) -> bool:
        return has_left(self._transport)

    def look(self) -> None:
        """Abort the connection if the client has disconnected."""
        if self.client_has_left:
            self.abort()

    def end_writing(self) -> None:
        """Close the sending side, and let the client end the connection."""
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def reset(self) -> None:
        """End the connection with a TCP reset, which cannot be mistaken for the end of an answer."""
        reset(self._transport)
