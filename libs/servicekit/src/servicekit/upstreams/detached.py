"""Connections that have left their pool: they carry no more requests and do not count against its limit."""

from servicekit.upstreams.connection import CLOSED, UpstreamConnection


class Detached:
    """The owner of connections that were switched to another protocol, until their borrowers or `close` end them."""

    def __init__(self) -> None:
        self._connections: set[UpstreamConnection] = set()

    def add(self, connection: UpstreamConnection) -> None:
        self._connections.add(connection)
        connection.owner = self

    def release(self, connection: UpstreamConnection) -> None:
        self.forget(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            connection.borrower = None
            connection.disconnect()

    def close(self) -> None:
        """Close every connection, and tell its borrower."""
        for connection in list(self._connections):
            connection.fail(CLOSED)
