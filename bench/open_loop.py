"""Requests at fixed times whatever becomes of those before, in a process of its own: `open_loop < plan > outcomes`.

The plan is a JSON object: port, rate (a second), seconds, and requests (texts), which are sent in turn. Each outcome is
one of [status, milliseconds since the time it was due]; 0 stands for a connection that broke.
"""

import asyncio
import itertools
import json
import sys
import time
from typing import Any

import uvloop

from bench.http_load import Connection

MOST_CONNECTIONS = 2000
PATIENCE = 30.0


class OpenLoop:
    def __init__(self, port: int) -> None:
        self.outcomes: list[tuple[int, float]] = []
        self._port = port
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)

    async def run(self, rate: float, seconds: float, requests: list[bytes]) -> None:
        tasks = set()
        start, turns = time.perf_counter(), itertools.cycle(requests)
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self._send(next(turns), due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _send(self, request: bytes, due: float) -> None:
        status = 0
        async with self._slots:
            try:
                async with asyncio.timeout(PATIENCE):
                    connection = self._idle.pop() if self._idle else await Connection.open(self._port)
                    status, _ = await connection.exchange(request)
                self._idle.append(connection)
            except (OSError, TimeoutError, EOFError):
                pass
        self.outcomes.append((status, (time.perf_counter() - due) * 1000))


async def _main(plan: dict[str, Any]) -> list[tuple[int, float]]:
    loop = OpenLoop(plan["port"])
    await loop.run(plan["rate"], plan["seconds"], [request.encode() for request in plan["requests"]])
    return loop.outcomes


if __name__ == "__main__":
    json.dump(uvloop.run(_main(json.load(sys.stdin))), sys.stdout)
