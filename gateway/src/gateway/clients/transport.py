"""The transport of a client's connection: writing to it, pausing and resuming its reading, and ending it."""

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.clients.leaving import has_left


class ClientTransport(asyncio.Protocol):
    """A protocol with the methods of its transport.

    `write` takes bytes, `close` ends the connection once they are sent, and `abort` ends it at once. While nothing is
    read, the event loop does not notice that the client leaves. Such connections are in `held`, and their port calls
    `look` of each from time to time.
    """

    write: Callable[[bytes], None]
    abort: Callable[[], None]
    close: Callable[[], None]
    _transport: asyncio.Transport

    def __init__(self, held: "set[ClientTransport]") -> None:
        self._held = held

    def attach(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self.abort = self._transport.abort
        self.close = self._transport.close

    def pause(self) -> None:
        """Read nothing more for the time being."""
        if self not in self._held:
            self._held.add(self)
            self._transport.pause_reading()

    def resume(self) -> None:
        if self in self._held and not self._transport.is_closing():
            self._held.discard(self)
            self._transport.resume_reading()

    @property
    def client_has_left(self) -> bool:
        return has_left(self._transport)

    def look(self) -> None:
        """End the connection where the client has left."""
        if self.client_has_left:
            self.abort()

    def end_writing(self) -> None:
        """Say that nothing more will come, and leave it to the client to end the connection."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
