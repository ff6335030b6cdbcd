"""Questions whether a replica lives: put to one that owes answers and is silent, and to one that is left out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import cast

from servicekit.upstreams.connection import PooledReplica, UpstreamConnection
from servicekit.upstreams.replicas import EJECTED, Replicas
from servicekit.upstreams.resolver import Address

AGAIN = 1.0  # seconds from one question to the next for the same replica

Connect = Callable[[asyncio.Protocol, Address], Awaitable[None]]


class Probe(asyncio.Protocol):
    """One question, on a connection of its own. Any byte of an answer will do, whatever its status is."""

    def __init__(self, question: bytes, connecting: Callable[["Probe"], Awaitable[None]]) -> None:
        self.answered = False
        self.waited = 0.0
        self._question = question
        self._closed = False
        self._transport: asyncio.Transport | None = None
        self.task = asyncio.get_running_loop().create_task(self._connect(connecting))

    @property
    def without_result(self) -> bool:
        """The connection was refused or closed: the replica is stopping, or the process has ended."""
        return self._closed and not self.answered

    def end(self) -> None:
        self.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self, connecting: Callable[["Probe"], Awaitable[None]]) -> None:
        try:
            await connecting(self)
        except OSError:
            self._closed = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._question)

    def data_received(self, _data: bytes) -> None:
        self.answered = True

    def connection_lost(self, _error: Exception | None) -> None:
        self._closed = True


class Probes:
    """The probes of one upstream: `GET path`, which a replica must begin to answer within `patience` seconds.

    A replica from which anything else comes in the meantime lives as well. One that refuses the connection is neither
    alive nor hanging: a replica that stops listens no longer while it finishes its requests.
    """

    def __init__(
        self, replicas: Replicas[UpstreamConnection], connect: Connect, host: bytes, path: str, patience: float
    ) -> None:
        self._replicas = replicas
        self._connect = connect
        self._question = b"GET %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (path.encode(), host)
        self._patience = patience
        self._running: dict[PooledReplica, Probe] = {}

    def look(self, elapsed: float) -> None:
        """Note what came of the probes, and begin those that are due. The last look was `elapsed` seconds ago."""
        for replica, probe in list(self._running.items()):
            self._follow(replica, probe, elapsed)
        for replica in (*self._replicas.all, *self._replicas.leaving):
            replica.note_silence(elapsed)
            if replica not in self._running and self._is_due(replica):
                self._begin(replica)

    async def close(self) -> None:
        probes = list(self._running.values())
        self._running.clear()
        for probe in probes:
            probe.end()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(probe.task for probe in probes), return_exceptions=True)

    def _follow(self, replica: PooledReplica, probe: Probe, elapsed: float) -> None:
        probe.waited += elapsed
        lives = probe.answered or replica.heard
        if not lives and not probe.without_result and probe.waited < self._patience:
            return
        del self._running[replica]
        probe.end()
        if lives:
            self._replicas.lives(replica)
        elif not probe.without_result:
            self._replicas.hangs(replica)

    def _is_due(self, replica: PooledReplica) -> bool:
        wanted = replica.silent_for >= self._patience or replica.hanging or replica.state is EJECTED
        return wanted and self._replicas.now >= replica.probe_after

    def _begin(self, replica: PooledReplica) -> None:
        replica.probe_after = self._replicas.now + AGAIN
        self._running[replica] = Probe(self._question, lambda probe: self._connect(probe, replica.address))
