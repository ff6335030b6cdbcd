"""The lingering close of a connection whose client may still be sending."""

from gateway.clients.connection import Connection
from gateway.clients.holder import Holder

BYTES = 64 * 1024
SECONDS = 1.0


class Lingering(Holder):
    """Discards a limited amount of data for a limited time, until the client closes the connection too.

    Closing a connection with unread data resets it, and the client could lose the answer that is on its way.
    """

    __slots__ = ("_client", "_left")

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._left = BYTES
        client.wait(SECONDS)
        client.end_writing()

    def on_client_data(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._client.abort()

    def on_client_eof(self) -> None:
        self._client.close()

    def expire(self) -> None:
        self._client.abort()
