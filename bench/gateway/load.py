"""Loads on a proxy: wrk with one kind of request, and idle connections."""

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.pinned import command_on
from bench.gateway.programs import PEERS

PATIENCE = 30.0


class FailedLoadError(Exception):
    """Requests failed; the text says how many."""


@dataclass(frozen=True)
class Kind:
    """One kind of request; `size` is that of the body downloaded or uploaded in bytes, 0 if negligible."""

    name: str
    method: str
    path: str
    size: int
    connections: int

    @property
    def sent(self) -> int:
        return self.size if self.method == "POST" else 0


ORDINARY = Kind("requests", "GET", "/api/v1/users/me", 0, 32)
LARGE = (
    Kind("100 KB down", "GET", "/api/v1/users/102400", 102_400, 16),
    Kind("60 KB up", "POST", "/oauth/token", 61_440, 16),  # the gateway accepts 64 KiB at most
    Kind("10 MB down", "GET", "/api/v1/users/10485760", 10_485_760, 4),
)


@dataclass(frozen=True)
class Outcome:
    """wrk's measurements; response times in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    refused: int
    broken: int


class Wrk:
    """wrk, on its own core or the backend's."""

    def __init__(self, program: Path, core: int, token: str) -> None:
        self._program = program
        self._core = core
        self._token = token

    def run(self, port: int, kind: Kind, seconds: float) -> Outcome:
        """Keep the kind's connections busy. Raises FailedLoadError if any response is not a success."""
        seconds = max(1, round(seconds))
        options = ("-t1", f"-c{kind.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", PEERS / "load.lua")
        url = f"http://127.0.0.1:{port}{kind.path}"
        command = [self._program, *options, url, "--", kind.method, str(kind.sent), self._token]
        ran = subprocess.run(
            command_on(self._core, command), capture_output=True, text=True, check=False, timeout=seconds + PATIENCE
        )
        lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
        if ran.returncode or not lines:
            raise FailedLoadError((ran.stderr or ran.stdout).strip()[-300:])
        outcome = Outcome(**json.loads(lines[-1]))
        if outcome.refused or outcome.broken or not outcome.requests:
            raise FailedLoadError(
                f"of {outcome.requests} requests {outcome.refused} were refused, and {outcome.broken} broke off"
            )
        return outcome


class Idle:
    """Connections that each got one response and are then idle."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._request = f"GET {ORDINARY.path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self._held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, number: int) -> None:
        places = asyncio.Semaphore(64)

        async def one() -> None:
            async with places, asyncio.timeout(PATIENCE):
                self._held.append(await self._answered())

        await asyncio.gather(*(one() for _ in range(number)))

    async def _answered(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=65536)
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise FailedLoadError(head.partition(b"\r\n")[0].decode(errors="replace"))
        lower = head.lower()
        if b"\r\ntransfer-encoding:" in lower:
            await reader.readuntil(b"0\r\n\r\n")
        else:
            await reader.readexactly(int(lower.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]))
        return reader, writer

    @property
    def open_still(self) -> int:
        return sum(not reader.at_eof() and not writer.is_closing() for reader, writer in self._held)

    async def close(self) -> None:
        for _, writer in self._held:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._held), return_exceptions=True)
        self._held.clear()
