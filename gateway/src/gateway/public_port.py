"""The listening socket of the public port, bound by this process or received from `gateway.hold_port`."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from servicekit.pauses import pause

log = structlog.get_logger()

BACKLOG = 1024
_AGAIN = 0.5
# Seconds for which a starting gateway waits for the port holder, which may be starting too.
_PATIENCE = 10.0
_ANSWER_WITHIN = 2.0

Protocol = Callable[[], asyncio.BaseProtocol]


class OwnPort:
    """A port that this process binds. With `reuse_port`, other processes can bind it too."""

    # Connections in the queue of this socket are lost when it is closed.
    shared = False

    def __init__(self, host: str, port: int, *, reuse_port: bool) -> None:
        self._address = (host, port)
        self._reuse_port = reuse_port
        self._server: asyncio.Server | None = None

    async def open(self, protocol: Protocol) -> None:
        """Start accepting connections. Raises OSError if the address cannot be listened on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(protocol, *self._address, backlog=BACKLOG, reuse_port=self._reuse_port)

    @property
    def number(self) -> int:
        """The port number, which the system chose if the setting is 0."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


class HeldPort:
    """A port whose listening socket is received over the Unix socket `path` and shared with other gateways.

    The connection to the port holder stays open. When it ends, this gateway keeps accepting connections and asks again
    until a holder answers, which either has a new socket or takes over this one.
    """

    # When one process closes this socket, the others accept the connections in its queue.
    shared = True

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._holder: socket.socket | None = None
        self._listening: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.number = 0

    async def open(self, protocol: Protocol) -> None:
        """Start accepting connections. Raises OSError if no holder provides a socket within ten seconds."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                await self._take(protocol)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await pause(_AGAIN)
        self._keeper = asyncio.create_task(self._keep(protocol))

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if self._server is not None:
            self._server.close()
        if self._holder is not None:
            self._holder.close()

    async def _keep(self, protocol: Protocol) -> None:
        while True:
            await self._end_of_holder()
            log.warning("port holder disconnected", path=self._path)
            while True:
                await pause(_AGAIN)
                with contextlib.suppress(OSError):
                    await self._take(protocol)
                    break
            log.info("port holder reconnected", path=self._path)

    async def _end_of_holder(self) -> None:
        holder = self._holder
        if holder is not None:
            with contextlib.suppress(OSError), holder:
                await asyncio.get_running_loop().sock_recv(holder, 1)

    async def _take(self, protocol: Protocol) -> None:
        """Accept connections on the holder's socket instead of an earlier one. Raises OSError."""
        self._holder, listening = await asyncio.to_thread(_ask, self._path, self._listening)
        if listening is not None:
            former = self._server
            self._server = await asyncio.get_running_loop().create_server(protocol, sock=listening, backlog=BACKLOG)
            self._listening, self.number = listening, int(listening.getsockname()[1])
            if former is not None:
                former.close()


def _ask(path: str, own: socket.socket | None) -> tuple[socket.socket, socket.socket | None]:
    """The connection to the holder and its listening socket, or None if that is the socket that we offered it."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.settimeout(_ANSWER_WITHIN)
        holder.connect(path)
        socket.send_fds(holder, [b"\n"], [] if own is None else [own.fileno()])
        _, descriptors, _, _ = socket.recv_fds(holder, 1, 1)
        if not descriptors:
            raise ConnectionResetError("it provides no socket")
        holder.setblocking(False)
        listening = socket.socket(fileno=descriptors[0])
        if own is None or not os.path.sameopenfile(listening.fileno(), own.fileno()):
            return holder, listening
        listening.close()
        return holder, None
    except BaseException:
        holder.close()
        raise
