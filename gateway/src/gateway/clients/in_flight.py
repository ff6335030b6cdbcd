"""Reactions that all holders of a connection share while a request is in flight on it."""

from gateway.clients.connection import Connection
from gateway.clients.holder import Holder


class InFlight(Holder):
    """Holds `_client` while a request is in flight: what the client sends meanwhile waits for its turn."""

    __slots__ = ("_client",)

    _client: Connection

    def on_client_data(self, data: bytes) -> None:
        self._client.keep(data)

    def on_client_eof(self) -> None:
        self._client.abort()  # to close would wait until a client that has gone has read what is left

    def on_client_congested(self) -> None:
        self._client.await_reader()
