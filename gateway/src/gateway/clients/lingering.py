"""The end of a connection whose client is still sending."""

from gateway.clients.connection import Connection
from gateway.clients.holder import Holder

BYTES = 64 * 1024
SECONDS = 1.0


class Lingering(Holder):
    """Reads a little more for a little longer, until the client has ended the connection too.

    Closing it with bytes unread could destroy the answer that is still on its way to the client.
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
