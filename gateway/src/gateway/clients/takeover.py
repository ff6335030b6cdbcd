"""Objects that take a connection over from its requests: a WebSocket, or its end."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.clients.connection import Connection

BYTES = 64 * 1024
SECONDS = 1.0


class Taker(Protocol):
    """The receiver of every byte that a client still sends."""

    def from_client(self, data: bytes) -> None: ...
    def on_client_congested(self) -> None: ...
    def on_client_drained(self) -> None: ...
    def on_client_eof(self) -> None: ...
    def on_client_gone(self) -> None: ...
    def on_drain(self) -> None: ...
    def expire(self) -> None: ...


class Lingering:
    """Reads a little more for a little longer, until the client has ended the connection too.

    To close with bytes unread would take from it the answer that is on its way.
    """

    def __init__(self, client: "Connection") -> None:
        self._client = client
        self._left = BYTES
        client.wait(SECONDS)
        client.end_writing()

    def from_client(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._client.abort()

    def expire(self) -> None:
        self._client.abort()

    def on_client_eof(self) -> None:
        self._client.close()

    def on_client_congested(self) -> None:
        """Nothing more is written."""

    on_client_drained = on_client_gone = on_drain = on_client_congested
