"""The TLS handshake of a client's connection, which is counted and timed from the moment it is accepted."""

import asyncio
import contextlib
import socket
import ssl
from typing import cast

from gateway.clients.connection import Connection


class Handshake(asyncio.Protocol):
    """Performs the handshake for `connection` if it is admitted, and closes it without a response otherwise.

    asyncio's TLS servers report a connection only after its handshake, and `start_tls` comes too late, since uvloop may
    have read the client's first bytes by then. So the socket is taken from its first transport before anything is read,
    and given to a second transport.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext) -> None:
        self._connection = connection
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        with contextlib.suppress(OSError):  # if there is no file descriptor left
            taken = transport.get_extra_info("socket").dup()
            if self._connection.enter(transport, taken.fileno()):
                self._connection.abort = self._connection.close = self._abort
                self._task = asyncio.get_running_loop().create_task(self._shake_hands(taken))
                self._task.add_done_callback(lambda _: self._end(taken))
            else:
                taken.close()
        cast(asyncio.Transport, transport).abort()

    async def _shake_hands(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError):
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: self._connection, taken, ssl=self._context)

    def _end(self, taken: socket.socket) -> None:
        """Called when the task is done, even if it was cancelled before it started."""
        if self._connection.abort == self._abort:  # no connection was made
            taken.close()
            self._connection.connection_lost(None)

    def _abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
