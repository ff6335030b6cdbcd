"""A program pinned to one core, with its CPU time and memory."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

PATIENCE = 15.0


class NotStartedError(Exception):
    """The program ended or did not serve in time; the message is the end of its output."""


class Pinned:
    """A running program and its children."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def _family(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time so far, in seconds."""
        return sum(sum(member.cpu_times()[:2]) for member in self._family())

    def memory(self) -> int:
        """Memory in bytes, with shared pages counted once (PSS)."""
        return sum(member.memory_full_info().pss for member in self._family())

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """Stop the program's whole process group."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def command_on(core: int, command: Sequence[str | Path]) -> list[str]:
    taskset = shutil.which("taskset")
    if taskset is None:
        raise SystemExit("taskset is missing (Debian package util-linux)")
    return [taskset, "-c", str(core), *map(str, command)]


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, core: int, port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Pinned]:
    """Run a program on a core for the block, which starts when it listens. Raises NotStartedError."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command_on(core, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    pinned = Pinned(process)
    try:
        _wait_until_it_listens(pinned, port, log)
        yield pinned
    finally:
        pinned.stop()


def _wait_until_it_listens(pinned: Pinned, port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not pinned.ended:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise NotStartedError(log.read_text(errors="replace").strip()[-300:] or "no output")


def core_seconds(core: int) -> float:
    """The time that a core has been busy so far, for any process, and the part of it that the host stole."""
    lines = Path("/proc/stat").read_text().splitlines()
    user, nice, system, _, _, interrupts, soft, stolen = next(
        map(int, line.split()[1:9]) for line in lines if line.startswith(f"cpu{core} ")
    )
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def two_cores() -> tuple[int, int]:
    """The proxy's core, and the core of the load and the backend."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("needs two cores: one for the proxy, one for the load and the backend")
    return cores[1], cores[0]


def raise_open_files(wanted: int) -> int:
    """Raise the limit on open files for this process and its children, as far as allowed; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted and os.geteuid() == 0:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
