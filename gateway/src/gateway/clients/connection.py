"""A client's connection: one request at a time, limits of time, size and number, and an orderly end."""

import asyncio
import math
from typing import TYPE_CHECKING

from gateway.clients.origin import Origin
from gateway.clients.request_body import RequestBody
from gateway.clients.takeover import Lingering, Taker
from gateway.clients.transport import ClientTransport
from gateway.messages import refusals, response
from gateway.messages.refusals import RefusedError
from gateway.messages.request_reader import RequestReader
from servicekit.http1.parser import MalformedMessageError
from servicekit.resets import reset

if TYPE_CHECKING:
    from gateway.clients.exchange import Exchange
    from gateway.clients.listener import Listener

# How much of a body that cannot go on yet, or of requests that wait for their turn, is held before reading pauses.
_HELD = 64 * 1024


class Connection(ClientTransport):
    """One connection. `origin` is where its requests come from, `arrival` since when the one being served may wait."""

    origin: Origin

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener.held)
        self.deadline = math.inf
        self._listener = listener
        self._limits = listener.limits
        self._time = listener.time
        self.arrival = -math.inf
        self._admitted = False
        self._heads = RequestReader()
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._body: RequestBody | None = None
        self._body_wanted = False
        self._requests = 0
        self._congested = False
        self._taker: Taker | None = None

    def enter(self, transport: asyncio.BaseTransport, descriptor: int) -> bool:
        """Count the connection from now on, and wait for its first byte. False where there is no room for it."""
        self.origin = Origin(transport, self._listener.proxies, secure=self._listener.tls is not None)
        self._admitted = self._listener.admit(self, descriptor)
        if self._admitted:
            self.wait(self._limits.first_byte_timeout)
        return self._admitted

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(transport)
        descriptor = transport.get_extra_info("socket").fileno()
        if not self._admitted and not self.enter(transport, descriptor):  # with TLS it entered before its handshake
            self.write(response.refusal(refusals.unavailable("there are too many connections")))
            self.close()

    def data_received(self, data: bytes) -> None:
        if self._taker is not None:
            self._taker.from_client(data)
        else:
            waiting = bool(self._buffer)
            self._buffer = self._buffer + data if waiting else data
            if self._exchange is None and not waiting:
                self.arrival = self._listener.standstills.arrival()
                self._advance()
            elif self._body is not None and self._body_wanted:
                self._pass_body(self._body)
            elif len(self._buffer) >= _HELD:
                self.pause()

    def eof_received(self) -> None:
        if self._taker is not None:
            self._taker.on_client_eof()
        elif self._exchange is not None:
            self.abort()  # to close would wait until a client that has gone has read what is left

    def connection_lost(self, _error: Exception | None) -> None:
        if self._admitted:
            self._listener.dismiss(self)
        if self._taker is not None:
            self._taker.on_client_gone()
        elif self._exchange is not None:
            self._exchange.on_client_gone()
        self._exchange = self._taker = None

    def pause_writing(self) -> None:
        if self._taker is not None:
            self._taker.on_client_congested()
        else:
            self._congested = True
            self.wait(self._limits.body_timeout)
            if self._exchange is not None:
                self._exchange.on_client_congested()
            else:
                self.pause()

    def resume_writing(self) -> None:
        self._congested = False
        self._transport.set_write_buffer_limits()
        if self._taker is not None:
            self._taker.on_client_drained()
        elif self._exchange is not None:
            self._exchange.on_client_drained()
        else:
            self._await_request()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = math.inf
        if self._taker is not None:
            self._taker.expire()
        elif self._exchange is None and (self._congested or not self._heads.begun):
            self.abort()
        elif self._exchange is None:
            self._refuse(refusals.malformed("the request did not arrive in time", 408))
        elif self._body_wanted:
            self._exchange.refuse(refusals.malformed("the body did not arrive in time", 408))
        else:
            self._exchange.expire()

    # What an exchange calls

    @property
    def idle(self) -> bool:
        return self._exchange is None and self._taker is None

    def wait(self, seconds: float) -> None:
        """Have `expire` called when so much time has passed from now."""
        self.deadline = self._time() + seconds

    def want_body(self) -> None:
        """Pass the body to `exchange.on_request_body`. Nothing of it is passed before this is called."""
        if self._body is not None:
            self._body_wanted = True
            self.deadline = self._body.deadline(self._time())
            self.resume()
            if self._buffer:
                self._pass_body(self._body)

    @property
    def has_begun_body(self) -> bool:
        """True if a part of the body is there, so that the client does not wait to be asked for it."""
        return bool(self._buffer)

    def hold_body(self) -> None:
        """Pass nothing more until it is wanted again."""
        if self._body_wanted:
            self._body_wanted = False
            self.pause()

    def keeps_alive(self) -> bool:
        """True if another request may follow the one being answered. A body that is all there is passed over."""
        if self._body is not None and not self._body_wanted and self._body.passes_over(self._buffer):
            self._buffer = self._body.rest
            self._body = None
        exchange = self._exchange
        return (
            exchange is not None
            and exchange.request.keep_alive
            and self._body is None
            and not self._listener.draining
            and self._requests < self._limits.requests_per_connection
        )

    def finish(self, *, keep_alive: bool) -> None:
        """The answer was written whole."""
        self._exchange = None
        self._body_wanted = False
        if not keep_alive or self._listener.ended:
            self._end()
            return
        if self._congested:
            self.pause()  # a client that does not read its answers is not asked for more
            return
        self._await_request()

    def break_off(self) -> None:
        """End it in the middle of an answer, which must not look complete."""
        if self._exchange is not None and self._exchange.request.minor == 0:
            reset(self._transport)  # else its end would be taken for that of an answer without a length
        else:
            self.abort()

    def hand_over(self, taker: Taker) -> None:
        """From now on every byte is the taker's."""
        self._exchange = None
        self._taker = taker
        self.resume()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            taker.from_client(data)

    # What the gateway calls

    def drain(self) -> None:
        """No further request is served: end the connection as soon as nothing is in flight."""
        if self._taker is not None:
            self._taker.on_drain()
        elif self._exchange is None:
            self.close()

    # Requests

    def _await_request(self) -> None:
        """Wait for the next request; one that is there already waits for its turn among all connections."""
        self.wait(self._limits.keepalive_timeout)
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._advance)
        else:
            self.resume()

    def _advance(self) -> None:
        """Serve the next request that has arrived, once the client has taken what was written to it.

        A client that sends requests and reads no answers would otherwise hold a place with an upstream for each.
        """
        if self._buffer and self.idle and not self._congested and not self._transport.is_closing():
            if self._transport.get_write_buffer_size():
                self._transport.set_write_buffer_limits(high=0)  # it is congested until all has gone
            else:
                self._read_request()

    def _read_request(self) -> None:
        """Start the request whose head is in the buffer, unless it is not all there, or refused."""
        begun = self._heads.begun
        data, self._buffer = self._buffer, b""
        try:
            found = self._heads.feed(data)
        except MalformedMessageError as fault:
            self._listener.counters.malformed += 1
            self._refuse(refusals.malformed(str(fault), fault.status))
            return
        if found is None:
            self.resume()
            if self._heads.begun and not begun:
                self.wait(self._limits.header_timeout)
            return
        request, self._buffer = found
        self._requests += 1
        if request.has_body:
            self._body = RequestBody(request.body(), self._limits.body_timeout, self._limits.body_rate)
        self.deadline = math.inf
        exchange = self._exchange = self._listener.serve(self, request)
        exchange.start()
        if self._exchange is exchange and self._body is not None and not self._body_wanted:
            self.pause()  # nobody counts the bytes of a body that is not wanted yet

    def _pass_body(self, body: RequestBody) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        data, self._buffer = self._buffer, b""
        try:
            content = body.feed(data)
        except MalformedMessageError as fault:
            exchange.refuse(refusals.malformed(str(fault)))
            return
        self.deadline = body.deadline(self._time())
        if body.complete:
            self._buffer = body.rest
            self._body = None
            self._body_wanted = False
        exchange.on_request_body(content, complete=body.complete)

    # Ends

    def _refuse(self, fault: RefusedError) -> None:
        """Answer bytes that are no request, and end."""
        self.write(response.refusal(fault))
        self._linger()

    def _end(self) -> None:
        self._buffer = b""  # nothing behind the last request is read
        if self._body is not None:
            self._linger()
        else:
            self.close()

    def _linger(self) -> None:
        self._body = None
        self._buffer = b""
        self.hand_over(Lingering(self))
