"""Child processes, each in its own session and with a log file, stopped with the parent and restarted when they die."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.errors import StartError

FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.1, 5.0, 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Program:
    """A command and its user. `stop_signals` are sent in turn, `orphan_signal` by the kernel if the parent dies."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    directory: Path
    user: str | None = None
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)
    orphan_signal: signal.Signals = signal.SIGKILL
    before_start: Callable[[], None] = lambda: None


class Process:
    """A program that can be started, stopped and restarted."""

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0
        self._started_at = 0.0

    async def start(self) -> None:
        """Start it; its output is appended to its log."""
        program = self._program
        self._started_at = time.monotonic()
        program.before_start()
        with program.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = await _spawn(
                program.command,
                program.orphan_signal,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=program.directory,
                env=program.environment,
                user=program.user,
            )

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def wait(self) -> int:
        """Wait until it ends; returns the exit status, or the negative number of the signal that killed it."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self, patience: float) -> None:
        """Send its stop signals in turn, waiting `patience` seconds after each."""
        for number in self._program.stop_signals:
            if self._process is None or self._process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), patience)

    def complaint(self) -> str:
        """The last fatal line that it wrote since its start, or its last line."""
        with self._program.log.open("rb") as log:
            log.seek(self._log_start)
            return last_line(log.read())

    async def keep_running(self, say: Callable[[str], None]) -> None:
        """Restart it whenever it ends, after a pause that grows until it has run for ten seconds."""
        pause = FIRST_PAUSE
        while True:
            status = await self.wait()
            if time.monotonic() - self._started_at > STEADY:
                pause = FIRST_PAUSE
            cause = f"status {status}: {self.complaint()}" if status >= 0 else signal.Signals(-status).name
            say(f"{self.name} ended and is restarted ({cause})")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                await self.start()
            except OSError as error:
                say(f"{self.name} cannot be started: {error}")


async def run(name: str, command: Sequence[str], environment: Mapping[str, str], *, stdin: str = "") -> str:
    """Run a command; returns its standard output. Raises `StartError` with its last line."""
    process = await _spawn(command, signal.SIGKILL, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)
    try:
        stdout, stderr = await process.communicate(stdin.encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise StartError(f"{name}: {last_line(stderr or stdout)}")
    return stdout.decode()


async def together(*steps: Coroutine[Any, Any, object]) -> None:
    """Run the steps concurrently; the first `StartError` ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def last_line(output: bytes) -> str:
    """The last fatal line of an output, or its last line."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line]
    return (fatal or lines or ["no output"])[-1].strip()


async def _spawn(command: Sequence[str], orphan_signal: signal.Signals, **options: Any) -> asyncio.subprocess.Process:
    """Start a process. If cancelled meanwhile, wait until it has started and kill it."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command, start_new_session=True, preexec_fn=_bind_to(os.getpid(), orphan_signal), **options
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        (await starting).kill()
        raise


def _bind_to(parent: int, orphan_signal: signal.Signals) -> Callable[[], None] | None:
    """A function for the child to ask the kernel for a signal when its parent dies (Linux)."""
    if sys.platform != "linux":
        return None

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
        if os.getppid() != parent:
            os._exit(1)

    return bind
