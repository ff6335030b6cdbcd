"""Several processes on the public port: they are started, listened to, replaced when they die, and told to stop."""

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

import structlog

from gateway.ops import cannot_listen
from gateway.settings import Settings

log = structlog.get_logger()

# Before a worker that died is replaced: from the first to the longest pause, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LIVED_WELL = 10.0
# How much longer than it takes to drain a worker may take to end.
_GRACE = 2.0


class Workers:
    """As many data paths as the settings say, each in a process of its own.

    Leaves the process with status 1 and one line when the address cannot be listened on.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._draining = False
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._statuses: dict[int, dict[str, Any]] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        # Bound and never listening: it finds out whether the port can be had, and holds it while workers come and go.
        self._reserved = _reserve(settings.host, settings.port)

    @property
    def port(self) -> int:
        return int(self._reserved.getsockname()[1])

    @property
    def ready(self) -> bool:
        return not self._draining and len(self._statuses) == self._settings.workers

    def statuses(self) -> list[dict[str, Any]]:
        return [self._statuses[number] for number in sorted(self._statuses)]

    async def start(self) -> None:
        """Start all, and wait until each has told that it serves, or one has ended instead."""
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(self._settings.workers)]
        while not self.ready:
            self._changed.clear()
            await self._changed.wait()
            if any(keeper.done() for keeper in self._keepers):
                await self.close()
                raise SystemExit(1)  # the worker has said why

    def reload(self) -> None:
        self._signal(signal.SIGHUP)

    async def drain(self) -> None:
        self._draining = True
        self._signal(signal.SIGTERM)
        patience = self._settings.drain_delay + self._settings.drain_timeout + _GRACE
        await asyncio.wait(self._keepers, timeout=patience)

    async def close(self) -> None:
        self._draining = True
        self._signal(signal.SIGKILL)
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._reserved.close()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self, number: int) -> None:
        """Have a worker with this number, until all are to stop. Ends early where the first one never served."""
        loop = asyncio.get_running_loop()
        pause, ever_served = _FIRST_PAUSE, False
        while not self._draining:
            started = loop.time()
            served = await self._run(number)
            ever_served = ever_served or served
            if self._draining or not ever_served:
                break
            log.error("a worker died", worker=number)
            pause = _FIRST_PAUSE if loop.time() - started > _LIVED_WELL else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
        self._changed.set()

    async def _run(self, number: int) -> bool:
        """Run one worker to its end; whether it has served."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "GATEWAY_PORT": str(self.port)},
            )
        self._processes[number] = process
        if self._draining:  # told to stop while it was being started
            process.send_signal(signal.SIGTERM)
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        try:
            served = await self._listen(number, reader)
            await process.wait()
        finally:
            writer.close()
            self._statuses.pop(number, None)
            self._changed.set()
        return served

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> bool:
        served = False
        while line := await reader.readline():
            served = True
            self._statuses[number] = json.loads(line)
            self._changed.set()
        return served


def _reserve(host: str, port: int) -> socket.socket:
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        reserved.bind((host, port))
    except OSError as error:
        raise SystemExit(cannot_listen(host, port, error)) from None
    return reserved
