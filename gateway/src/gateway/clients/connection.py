"""A client's connection, which passes its events on to its holder."""

import asyncio
import math
from collections.abc import Callable

from gateway.clients.holder import NOBODY, Holder
from gateway.clients.origin import Origin
from gateway.clients.port import Port
from gateway.clients.transport import ClientTransport
from gateway.messages import refusals, response

# Bytes of a body or of further requests that are kept for later before reading is paused.
_KEPT = 64 * 1024


class Connection(ClientTransport):
    """One connection. `origin` tells where its requests come from; `buffer` has data that was kept for later."""

    origin: Origin

    def __init__(self, port: Port, begin: "Callable[[Connection], Holder]") -> None:
        """`begin` makes the first holder, once the connection is admitted."""
        super().__init__(port.paused)
        self.holder: Holder = NOBODY
        self.deadline = math.inf
        self.buffer = b""
        self.congested = False
        self.time = port.time
        self._port = port
        self._begin = begin
        self._admitted = False

    def enter(self, transport: asyncio.BaseTransport, descriptor: int) -> bool:
        """Count the connection from now on, and wait for its first byte. False if it is not admitted."""
        self.origin = Origin(transport, self._port.proxies, secure=self._port.tls is not None)
        self._admitted = self._port.admit(self, descriptor)
        if self._admitted:
            self.holder = self._begin(self)
            self.wait(self._port.limits.first_byte_timeout)
        return self._admitted

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(transport)
        descriptor = transport.get_extra_info("socket").fileno()
        if not self._admitted and not self.enter(
            transport, descriptor
        ):  # with TLS it was admitted before its handshake
            self.write(response.refusal(refusals.unavailable("there are too many connections")))
            self.close()

    def data_received(self, data: bytes) -> None:
        self.holder.on_client_data(data)

    def eof_received(self) -> None:
        self.holder.on_client_eof()

    def connection_lost(self, _error: Exception | None) -> None:
        self.detach()
        if self._admitted:
            self._port.dismiss(self)
        holder, self.holder = self.holder, NOBODY
        holder.on_client_gone()

    def pause_writing(self) -> None:
        self.congested = True
        self.holder.on_client_congested()

    def resume_writing(self) -> None:
        self.congested = False
        self._transport.set_write_buffer_limits()
        self.holder.on_client_drained()

    def expire(self) -> None:
        self.deadline = math.inf
        self.holder.expire()

    # What its holders call

    @property
    def idle(self) -> bool:
        return self.holder.idle

    def wait(self, seconds: float) -> None:
        """Have `expire` of the holder called in this many seconds."""
        self.deadline = self.time() + seconds

    def await_reader(self) -> None:
        """Allow the client as much time to read what was written as for sending a part of a body."""
        self.wait(self._port.limits.body_timeout)

    def keep(self, data: bytes) -> None:
        """Keep `data` for later, and pause reading if that makes too much."""
        self.buffer = self.buffer + data if self.buffer else data
        if len(self.buffer) >= _KEPT:
            self.pause()

    def hand_over(self, holder: Holder) -> None:
        """Pass all data to `holder` from now on, beginning with the data that was kept."""
        self.holder = holder
        self.resume()
        if self.buffer:
            data, self.buffer = self.buffer, b""
            holder.on_client_data(data)

    # What its port calls

    def shut_down(self) -> None:
        """Serve no further requests, and close the connection unless a request is in flight."""
        self.holder.on_shutdown()
