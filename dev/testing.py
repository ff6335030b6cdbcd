"""The stack under test: `python -m dev` on free ports and with its own data directory."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from dev.settings import HOST, Settings

REPOSITORY = Path(__file__).parent.parent
START_TIMEOUT, STOP_TIMEOUT = 120.0, 30.0


@dataclass(frozen=True)
class Stack:
    """A stack that answers at `url`; fields are None if they are unknown of a stack that runs elsewhere.

    `compose` is the `docker compose …` command for a stack in containers.
    """

    url: str
    ops_url: str | None = None
    data_dir: Path | None = None
    supervisor: subprocess.Popen[bytes] | None = None
    compose: tuple[str, ...] = ()

    @property
    def has_command_line(self) -> bool:
        """True if the services' command lines can be run here."""
        return self.data_dir is not None or bool(self.compose)

    def processes(self) -> dict[str, psutil.Process]:
        """The supervisor's children by name: `postgres`, `redis-server`, `auth_service`, `user_service`, `gateway`."""
        assert self.supervisor is not None
        return {_name(child): child for child in psutil.Process(self.supervisor.pid).children()}

    def environment(self) -> dict[str, str]:
        """The variables that the data directory's `env` sets in a shell."""
        assert self.data_dir is not None
        return dict(entry.split("=", 1) for entry in shlex.split((self.data_dir / "env").read_text()))

    def send(self, number: signal.Signals, *, group: bool = False) -> int:
        """Signal the supervisor, or its whole group as a terminal does; returns its exit status."""
        assert self.supervisor is not None
        (os.killpg if group else os.kill)(self.supervisor.pid, number)
        return self.supervisor.wait(STOP_TIMEOUT)

    def stop(self) -> None:
        """Stop it, whatever its state."""
        assert self.supervisor is not None
        if self.supervisor.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.send(signal.SIGTERM)
        self.supervisor.kill()
        self.supervisor.wait()


def _name(process: psutil.Process) -> str:
    """The module of `python -m module`, or the program's own name."""
    arguments = process.cmdline()
    if "-m" in arguments:
        return str(arguments[arguments.index("-m") + 1])
    return Path(arguments[0].split()[0]).name  # Redis appends what it listens on


def free_ports() -> dict[str, str]:
    """A free port for each variable that sets one."""
    with contextlib.ExitStack() as sockets:
        ports = {}
        for name in Settings.port_fields():
            probe = sockets.enter_context(socket.socket())
            probe.bind((HOST, 0))
            ports[name.upper()] = str(probe.getsockname()[1])
        return ports


def command(data_dir: Path, **variables: str) -> tuple[list[str], dict[str, str]]:
    """The command that starts a stack, and its environment; `variables` take precedence.

    The gateway caches no verdicts, so that tests need not wait for them to expire. Nothing is throttled, and one
    network may use all capacity, because all tests come from one address. A session may be refreshed as fast as a
    test or benchmark can. A hundred passwords may wait to be hashed at once, even on a slow machine.
    """
    ours = {
        **free_ports(),
        "DATA_DIR": str(data_dir),
        "GATEWAY_VERDICT_LIFETIME": "0",
        "GATEWAY_UPSTREAM_REQUESTS_PER_NETWORK": "256",
        "AUTH_THROTTLE_EXEMPT": "127.0.0.0/8",
        "USERS_THROTTLE_EXEMPT": "127.0.0.0/8",
        "AUTH_REFRESH_RATE": "1000000/minute",
        "USERS_HASH_DEADLINE": "8",
    }
    return [sys.executable, "-m", "dev"], {**os.environ, **ours, **variables}


def start(data_dir: Path, **variables: str) -> Stack:
    """Start a stack and wait until it is ready. Raises AssertionError with its output if it ends instead."""
    arguments, environment = command(data_dir, **variables)
    data_dir.mkdir(parents=True, exist_ok=True)
    output = data_dir / "output"
    with output.open("wb") as file:
        supervisor = subprocess.Popen(
            arguments, stdout=file, stderr=subprocess.STDOUT, cwd=REPOSITORY, env=environment, start_new_session=True
        )
    stack = Stack(
        url=f"http://{HOST}:{environment['GATEWAY_PORT']}",
        ops_url=f"http://{HOST}:{environment['GATEWAY_OPS_PORT']}",
        data_dir=data_dir,
        supervisor=supervisor,
    )
    deadline = time.monotonic() + START_TIMEOUT
    while "ready after" not in output.read_text():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            stack.stop()
            raise AssertionError(output.read_text())
        time.sleep(0.02)
    return stack


@contextlib.contextmanager
def running(data_dir: Path, **variables: str) -> Iterator[Stack]:
    """A stack for as long as the context lasts. Raises as `start` does."""
    stack = start(data_dir, **variables)
    try:
        yield stack
    finally:
        stack.stop()


@contextlib.contextmanager
def module(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of `python -m` with these arguments for as long as the context lasts; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(url: str) -> None:
    """Wait until the page returns 200. Raises AssertionError if it does not in time."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return
        assert time.monotonic() < deadline, f"{url} is not ready"
        time.sleep(0.02)
