"""The behaviour that all holders of a connection share while a request is in flight."""

from gateway.clients.connection import Connection
from gateway.clients.holder import Holder


class InFlight(Holder):
    """Holds the connection while a request is in flight: data that follows the request is kept for later."""

    __slots__ = ("_client",)

    _client: Connection

    def on_client_data(self, data: bytes) -> None:
        self._client.keep(data)

    def on_client_eof(self) -> None:
        self._client.abort()  # close() would wait for a client that has gone to read the rest

    def on_client_congested(self) -> None:
        self._client.await_reader()
