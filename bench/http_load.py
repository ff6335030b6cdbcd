"""A cheap load generator: raw HTTP/1.1 over persistent connections, one request at a time on each."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Respond = Callable[[bytes], None]
Make = Callable[[int], tuple[bytes, Respond | None]]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run; latencies in milliseconds."""

    requests: int
    seconds: float
    failures: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def post(path: str, body: bytes, content_type: str = "application/json", headers: str = "") -> bytes:
    """The bytes of a POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def get(path: str, headers: str = "") -> bytes:
    """The bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n".encode()


class Connection:
    """A persistent connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1", **options: Any) -> "Connection":
        """`options` are those of `asyncio.open_connection`, such as `local_addr` and `ssl`."""
        return cls(*await asyncio.open_connection(host, port, **options))

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; returns the status and body of the response."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


async def load(port: int, make: Make, *, connections: int, seconds: float) -> Outcome:
    """Keep `connections` busy. `make(worker)` returns a request and, optionally, a handler for its response."""
    latencies: list[float] = []
    failures = 0
    deadline = time.perf_counter() + seconds

    async def worker(number: int) -> None:
        nonlocal failures
        connection = await Connection.open(port)
        while (started := time.perf_counter()) < deadline:
            request, respond = make(number)
            status, body = await connection.exchange(request)
            latencies.append((time.perf_counter() - started) * 1000)
            if status not in (200, 201, 204):
                failures += 1
            elif respond is not None:
                respond(body)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(connections)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return Outcome(
        requests=len(latencies),
        seconds=elapsed,
        failures=failures,
        p50=latencies[len(latencies) // 2],
        p99=latencies[int(len(latencies) * 0.99)],
    )
