"""A steady load: clients that keep their connections, send requests at fixed times, and record the outcomes."""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from wire import PATIENCE, Connection, request_bytes

REQUESTS = (("GET", "/api/v1/users/me", b""), ("POST", "/api/v1/users/157/password", b"{}"))
REFRESHES = (("POST", "/oauth/token", b"grant_type=refresh_token"),)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request sent at `at`: its status or the reason for having none, and who answered."""

    at: float
    seconds: float
    status: int | str
    answered_by: str
    method: str


class Load:
    """`rate` requests per second from `clients` clients; `port` gives the port of the next connection."""

    def __init__(
        self,
        port: Callable[[], int],
        *,
        rate: float,
        clients: int,
        requests: tuple[tuple[str, str, bytes], ...] = REQUESTS,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._requests = requests
        self._port = port
        self._pause = clients / rate
        self._clients = clients
        self._passed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def passes(self, number: int) -> list[Outcome]:
        """Wait for this many more outcomes, and return them."""
        before = len(self.outcomes)
        async with self._passed:
            await self._passed.wait_for(lambda: len(self.outcomes) >= before + number)
        return self.outcomes[before:]

    async def lasts(self, seconds: float) -> list[Outcome]:
        """The outcomes of the requests in this many seconds from now."""
        start = time.perf_counter()
        await asyncio.sleep(seconds)
        return [outcome for outcome in self.outcomes if outcome.at >= start]

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status != 200]

    async def _client(self, number: int) -> None:
        start = time.perf_counter() + number * self._pause / self._clients
        connection = None
        for turn in itertools.count():
            await asyncio.sleep(max(0.0, start + turn * self._pause - time.perf_counter()))
            connection = await self._request(connection, *self._requests[(turn + number) % len(self._requests)])

    async def _request(self, connection: Connection | None, method: str, target: str, body: bytes) -> Connection | None:
        """Send a request, and return the connection for the next one, if it can be kept."""
        started = time.perf_counter()
        status: int | str
        answered_by = ""
        try:
            async with asyncio.timeout(PATIENCE):
                if connection is None:
                    connection = Connection(*await asyncio.open_connection("127.0.0.1", self._port()))
                await connection.send(request_bytes(method, target, ("Authorization", "Bearer good"), body=body))
                message = await connection.response()
            status, answered_by = message.status, message.body.decode()
            if message.get("Connection") == "close":
                connection.close()
                connection = None
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            status, connection = type(error).__name__, None
        async with self._passed:
            self.outcomes.append(Outcome(started, time.perf_counter() - started, status, answered_by, method))
            self._passed.notify_all()
        return connection


def p99(outcomes: list[Outcome]) -> float:
    return sorted(outcome.seconds for outcome in outcomes)[int(len(outcomes) * 0.99)]


class Replica:
    """A process that answers with its address."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self._port = port
        self._process: asyncio.subprocess.Process

    async def start(self) -> None:
        script = Path(__file__).with_name("replica.py")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), self.host, str(self._port)), stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(self.host, self._port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def ended(self) -> None:
        await self._process.wait()
