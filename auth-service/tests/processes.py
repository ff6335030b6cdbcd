"""auth-service as real processes."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp

from auth_service.settings import Settings
from servicekit.settings import variable

from .serving import PATIENCE, eventually

COMMAND = (sys.executable, "-m", "auth_service")


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with only these settings, under the names of their environment variables."""
    ours = ("AUTH_", "SECRETS_DIR", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {variable(Settings, name): value for name, value in settings.items()}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Process:
    """`python -m auth_service serve` on a free port, with its output in a file."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, output: Path) -> None:
        self._process = process
        self._output = output
        self.url = f"http://127.0.0.1:{port}"

    @property
    def output(self) -> str:
        return self._output.read_text()

    async def answers(self, http: aiohttp.ClientSession) -> None:
        """Wait until the process serves requests."""

        async def healthy() -> bool:
            assert self._process.returncode is None, self.output
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(self.url + "/healthz") as response:
                    return response.status == 200
            return False

        await eventually(healthy)

    async def says(self, event: str) -> None:
        """Wait until the process has logged `event`."""

        async def output() -> str:
            return self.output

        await eventually(output, lambda written: f'"event": "{event}"' in written)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Suspend the process for as long as the context lasts."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Stop the process as an operator does; returns its exit status."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), PATIENCE)


@contextlib.asynccontextmanager
async def process(settings: dict[str, str]) -> AsyncIterator[Process]:
    port = free_port()
    with tempfile.NamedTemporaryFile(prefix="parley-log-") as output:
        started = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", env=environment(**settings, port=str(port)), stdout=output, stderr=output
        )
        running = Process(started, port, Path(output.name))
        try:
            yield running
        finally:
            await running.kill()


async def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a command to completion: exit status, standard output, standard error."""
    started = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env=environment(**settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(started.communicate(), 30)
    assert started.returncode is not None
    return started.returncode, output.decode(), errors.decode()
