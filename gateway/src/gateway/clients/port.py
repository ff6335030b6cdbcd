"""The state that all connections of one port share: limits, counts, and shutdown."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Protocol

from gateway.clients.descriptors import Descriptors
from gateway.clients.origin import Origin
from gateway.clients.transport import ClientTransport
from gateway.counters import Counters
from gateway.messages.client_address import TrustedProxies
from gateway.quota import Quota
from servicekit.deadlines import Deadlines
from servicekit.standstills import Standstills

_LOOK = 0.5


@dataclass(frozen=True)
class Limits:
    """Limits for clients. Times are in seconds, `body_rate` is in bytes per second."""

    first_byte_timeout: float
    header_timeout: float
    keepalive_timeout: float
    body_timeout: float
    body_rate: int
    connections: int
    connections_per_address: int
    requests_per_connection: int


class Client(Protocol):
    """The part of a client's connection that its port uses."""

    deadline: float
    origin: Origin

    @property
    def idle(self) -> bool: ...
    def shut_down(self) -> None: ...
    def abort(self) -> None: ...
    def expire(self) -> None: ...


class Port:
    """Admits connections, and ends them on shutdown. With `tls`, each begins with a handshake."""

    def __init__(
        self,
        limits: Limits,
        proxies: TrustedProxies,
        deadlines: Deadlines,
        standstills: Standstills,
        counters: Counters,
        descriptors: Descriptors,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.limits = limits
        self.proxies = proxies
        self.deadlines = deadlines
        self.standstills = standstills
        self.counters = counters
        self.tls = tls
        self.time = asyncio.get_running_loop().time
        self.connections: set[Client] = set()
        self.draining = False  # each connection is closed after the next answer
        self.ended = False  # no further requests are served
        self.paused: set[ClientTransport] = set()  # connections whose reading is paused
        self.deadline = 0.0
        self._descriptors = descriptors
        self._quota = Quota(limits.connections, limits.connections_per_address)
        self._empty = asyncio.Event()

    def expire(self) -> None:
        """Abort the connections of clients that have disconnected while reading was paused."""
        self.deadline = self.time() + _LOOK
        for connection in list(self.paused):
            connection.look()

    def admit(self, connection: Client, descriptor: int) -> bool:
        """True if there is room for the connection, which then counts until it is dismissed."""
        if len(self.connections) >= self.limits.connections or self._descriptors.lack(descriptor):
            self.counters.refused_connections += 1
            return False
        network = connection.origin.counts_for
        if network is not None:
            if self._quota.at_share(network):
                self.counters.refused_connections_of_address += 1
                return False
            self._quota.take(network)
        self.connections.add(connection)
        self.deadlines.add(connection)
        return True

    def dismiss(self, connection: Client) -> None:
        self.connections.discard(connection)
        if not self.connections and self.draining:
            self._empty.set()
        self.deadlines.discard(connection)
        network = connection.origin.counts_for
        if network is not None:
            self._quota.give_back(network)

    async def end(self) -> None:
        """Serve no further requests, and wait until the last connection has ended."""
        self.draining = self.ended = True
        for connection in list(self.connections):
            connection.shut_down()
        if self.connections:
            await self._empty.wait()
