"""The intake of requests from a client's connection, one at a time and with limits on time and number."""

import asyncio
import math
from typing import Protocol

from gateway.clients.connection import Connection
from gateway.clients.holder import Holder
from gateway.clients.lingering import Lingering
from gateway.clients.port import Port
from gateway.messages import refusals, response
from gateway.messages.refusals import RefusedError
from gateway.messages.request import Request
from gateway.messages.request_reader import RequestReader
from servicekit.http1.parser import MalformedMessageError


class Serve(Protocol):
    """Starts serving a request. The connection is returned by calling `finish` of the intake."""

    def __call__(self, intake: "Intake", request: Request, /) -> None: ...


class Intake(Holder):
    """Holds `client` between requests. `arrival` is the earliest time at which the latest request can have arrived."""

    __slots__ = ("_heads", "_port", "_requests", "_serve", "arrival", "client", "limits")

    idle = True

    def __init__(self, client: Connection, port: Port, serve: Serve) -> None:
        self.client = client
        self.arrival = -math.inf
        self.limits = port.limits
        self._port = port
        self._serve = serve
        self._heads = RequestReader()
        self._requests = 0

    # What its exchanges call

    def keeps_alive(self, request: Request) -> bool:
        """True if neither the client nor the gateway wants to close the connection after this request."""
        return request.keep_alive and not self._port.draining and self._requests < self.limits.requests_per_connection

    def finish(self, *, keep_alive: bool, unread: bool) -> None:
        """The answer is complete; a part of the request's body may be `unread`."""
        client = self.client
        client.holder = self
        if not keep_alive or self._port.ended:
            self._end(unread=unread)
        elif client.congested:
            client.pause()  # until the client has read its answers
        else:
            self._await_request()

    # What happens on the connection between requests

    def on_client_data(self, data: bytes) -> None:
        client = self.client
        if client.buffer:
            client.keep(data)
        else:
            client.buffer = data
            self.arrival = self._port.standstills.arrival()
            self._advance()

    def on_client_congested(self) -> None:
        self.client.await_reader()
        self.client.pause()

    def on_client_drained(self) -> None:
        self._await_request()

    def on_shutdown(self) -> None:
        self.client.close()

    def expire(self) -> None:
        if self.client.congested or not self._heads.begun:
            self.client.abort()
        else:
            self._refuse(refusals.malformed("the request did not arrive in time", 408))

    # Requests

    def _await_request(self) -> None:
        """Wait for the next request. If it is there already, other connections take their turn first."""
        client = self.client
        client.wait(self.limits.keepalive_timeout)
        if client.buffer:
            asyncio.get_running_loop().call_soon(self._advance)
        else:
            client.resume()

    def _advance(self) -> None:
        """Serve the next request in the buffer, once everything that was written has been sent.

        Otherwise a client that sends requests and reads no answers could have many requests at an upstream.
        """
        client = self.client
        if client.buffer and client.holder is self and not client.congested and client.takes_more():
            self._read_request()

    def _read_request(self) -> None:
        """Start the request whose head is in the buffer, unless the head is incomplete or refused."""
        client, begun = self.client, self._heads.begun
        data, client.buffer = client.buffer, b""
        try:
            found = self._heads.feed(data)
        except MalformedMessageError as fault:
            self._port.counters.malformed += 1
            self._refuse(refusals.malformed(str(fault), fault.status))
            return
        if found is None:
            client.resume()
            if self._heads.begun and not begun:
                client.wait(self.limits.header_timeout)
            return
        request, client.buffer = found
        self._requests += 1
        client.deadline = math.inf
        self._serve(self, request)

    # Ends

    def _refuse(self, fault: RefusedError) -> None:
        """Answer data that is not a valid request, and end the connection."""
        self.client.write(response.refusal(fault))
        self._end(unread=True)

    def _end(self, *, unread: bool) -> None:
        self.client.buffer = b""  # data that follows the last request is not read
        if unread:
            self.client.hand_over(Lingering(self.client))
        else:
            self.client.close()
