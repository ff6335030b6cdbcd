"""The protocol factory of a port."""

from gateway.clients.connection import Connection
from gateway.clients.handshake import Handshake
from gateway.clients.intake import Intake, Serve
from gateway.clients.port import Port


class Listener:
    """Makes the protocol of each accepted connection. `serve` is called with each request."""

    def __init__(self, port: Port, serve: Serve) -> None:
        self._port = port
        self._serve = serve

    def __call__(self) -> Connection | Handshake:
        connection = Connection(self._port, self._begin)
        return connection if self._port.tls is None else Handshake(connection, self._port.tls)

    def _begin(self, connection: Connection) -> Intake:
        return Intake(connection, self._port, self._serve)
