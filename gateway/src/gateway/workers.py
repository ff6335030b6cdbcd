"""The worker processes on the public port: started, monitored, replaced when they fail, and stopped."""

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.ops import cannot_listen
from gateway.settings import Settings

log = structlog.get_logger()

# Seconds to wait before a dead worker is replaced, doubled each time from the first to the longest pause.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LIVED_WELL = 10.0
# Seconds that a worker may take to exit after draining; its last log lines may take three of them.
_GRACE = 5.0
# A worker reports once a second. One that has been silent for this long cannot be serving, and is killed.
_SILENCE = 3.0
# A worker that has never reported may still be waiting for a name server.
_SLOWEST_START = 30.0
# Silence is counted in steps of this length, in each of which the parent reads the reports that have arrived. So time
# during which the parent itself was suspended or busy does not count as silence of its workers.
_STEP = 0.25


@dataclass
class _Worker:
    """A worker process, its last report (None until it serves), and the seconds for which it has been silent."""

    process: asyncio.subprocess.Process
    status: dict[str, Any] | None = None
    silence: float = 0.0
    has_to_reload: bool = False  # once it has reported: before that, the signal would kill it

    @property
    def serves(self) -> bool:
        return self.status is not None and self.silence < _SILENCE

    def signal(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    def reload(self) -> None:
        if self.status is not None:
            self.signal(signal.SIGHUP)
        else:
            self.has_to_reload = True

    def on_report(self, status: dict[str, Any]) -> None:
        self.status = status
        self.silence = 0.0
        if self.has_to_reload:
            self.has_to_reload = False
            self.signal(signal.SIGHUP)


class Workers:
    """The data paths of `settings.workers` processes.

    Exits with status 1 and one line if the address cannot be listened on.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._draining = False
        self._workers: dict[int, _Worker] = {}  # by number, each from its start to its end
        self._keepers: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        # Bound but not listening: this checks that the port is available, and reserves it while workers are replaced.
        # If a port holder has the port instead, each worker asks it for the socket.
        self._reserved = _reserve(settings.host, settings.port) if settings.listener is None else None

    @property
    def port(self) -> int:
        return int(self._reserved.getsockname()[1]) if self._reserved is not None else self._settings.port

    @property
    def ready(self) -> bool:
        serving = [worker for worker in self._workers.values() if worker.serves]
        return not self._draining and len(serving) == self._settings.workers

    def statuses(self) -> list[dict[str, Any]]:
        workers = (self._workers[number] for number in sorted(self._workers))
        return [worker.status for worker in workers if worker.status is not None]

    async def start(self) -> None:
        """Start all workers, and wait until each reports that it serves or one of them exits."""
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(self._settings.workers)]
        self._watch = asyncio.create_task(self._kill_silent())
        while not self.ready:
            self._changed.clear()
            await self._changed.wait()
            if any(keeper.done() for keeper in self._keepers):
                await self.close()
                raise SystemExit(1)  # the worker has logged the reason

    def reload(self) -> None:
        """Have every worker reload the certificate; a starting worker does so as soon as it serves."""
        for worker in self._workers.values():
            worker.reload()

    async def drain(self) -> None:
        self._draining = True
        self._signal(signal.SIGTERM)
        patience = self._settings.drain_delay + self._settings.drain_timeout + _GRACE
        await asyncio.wait(self._keepers, timeout=patience)

    async def close(self) -> None:
        self._draining = True
        self._signal(signal.SIGKILL)
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()
        if self._reserved is not None:
            self._reserved.close()

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            worker.signal(number)

    async def _kill_silent(self) -> None:
        """Kill every worker that goes silent. It is then replaced like one that died."""
        while True:
            await asyncio.sleep(_STEP)
            for number, worker in list(self._workers.items()):
                limit = _SILENCE if worker.status is not None else _SLOWEST_START
                if worker.silence >= limit:  # it has been killed
                    continue
                worker.silence += _STEP
                if worker.silence >= limit:
                    log.error("silent worker killed", worker=number, pid=worker.process.pid, seconds=limit)
                    worker.signal(signal.SIGKILL)

    async def _keep(self, number: int) -> None:
        """Keep a worker with this number running until the gateway stops. Ends early if the first one never served."""
        loop = asyncio.get_running_loop()
        pause, ever_served = _FIRST_PAUSE, False
        while not self._draining:
            started = loop.time()
            worker = await self._run(number)
            ever_served = ever_served or worker.status is not None
            if self._draining or not ever_served:
                break
            if worker.silence < _SILENCE:
                log.error("worker died", worker=number)
            pause = _FIRST_PAUSE if loop.time() - started > _LIVED_WELL else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
        self._changed.set()

    async def _run(self, number: int) -> _Worker:
        """Start a worker and wait until it exits."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "GATEWAY_PORT": str(self.port)},
            )
        worker = self._workers[number] = _Worker(process)
        if self._draining:  # the gateway was stopped while this worker started
            process.send_signal(signal.SIGTERM)
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                worker.on_report(json.loads(line))
                self._changed.set()
            await process.wait()
        finally:
            writer.close()
            del self._workers[number]
            self._changed.set()
        return worker


def _reserve(host: str, port: int) -> socket.socket:
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        reserved.bind((host, port))
    except OSError as error:
        raise SystemExit(cannot_listen(host, port, error)) from None
    return reserved
