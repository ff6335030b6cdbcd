"""What a flood of logins does to verification: ten times as many as can be hashed, at a constant rate of arrivals.

Starts a stack of its own, measures bare argon2id, then verifications at a steady rate, alone and beside the flood.
The flood goes through the gateway, verifications go to auth-service, each from a process of its own.
"""

import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.http_load import Connection, get, post
from bench.tokens import CORES, argon2id_rate, ask, cpu_seconds
from dev import testing

FLOOD = 10  # times what the machine can hash
SECONDS = 15.0
VERIFICATIONS = 100.0  # a second
LAG_PROBES = 20.0  # a second, at each service
USERS = 400
PASSWORD = "a long enough password"
PROCESSES = ("auth_service", "user_service", "gateway", "redis-server", "postgres")


@dataclass(frozen=True)
class Sample:
    """What one process's requests came to: milliseconds by status."""

    seconds: float
    by_status: dict[int, list[float]]

    def count(self, status: int) -> int:
        return len(self.by_status.get(status, []))

    def quantile(self, status: int, share: float) -> float:
        ordered = sorted(self.by_status.get(status, []))
        return ordered[int(len(ordered) * share)] if ordered else float("nan")


async def open_loop(port: int, rate: float, seconds: float, requests: list[bytes]) -> Sample:
    plan = {"port": port, "rate": rate, "seconds": seconds, "requests": [request.decode() for request in requests]}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.open_loop", stdin=pipe, stdout=pipe)
    output, _ = await process.communicate(json.dumps(plan).encode())
    by_status: dict[int, list[float]] = {}
    for status, milliseconds in json.loads(output):
        by_status.setdefault(status, []).append(milliseconds)
    return Sample(seconds, by_status)


class Flood:
    def __init__(self, stack: testing.Stack, ports: dict[str, int]) -> None:
        self.stack = stack
        self.ports = ports
        self.most: dict[str, float] = {}

    async def sign_up(self) -> list[bytes]:
        """Users to log in, each from an address of its own; returns the requests."""
        connection = await Connection.open(self.ports["GATEWAY_PORT"])
        logins = []
        for number in range(USERS):
            email = f"flood{number}@example.com"
            body = json.dumps({"user": {"email": email, "password": PASSWORD}}).encode()
            status, _ = await connection.exchange(post("/api/v1/users", body))
            if status != 200:
                raise SystemExit(f"signing up was answered {status}")
            login = {"grant_type": "password", "login": email, "password": PASSWORD}
            address = f"X-Forwarded-For: 203.0.{number // 250}.{number % 250 + 1}\r\n"
            logins.append(post("/oauth/token", json.dumps(login).encode(), headers=address))
        connection.close()
        return logins

    async def verifications(self, token: str, seconds: float) -> tuple[Sample, dict[str, Sample]]:
        """Verifications, with the time that a request which does nothing takes at each service."""
        verify = get("/verify-token", f"Authorization: Bearer {token}\r\n")
        lags = {"auth_service": "AUTH_PORT", "user_service": "USERS_PORT", "gateway": "GATEWAY_PORT"}
        target = {"gateway": "/.nothing"}
        samples = await asyncio.gather(
            open_loop(self.ports["AUTH_PORT"], VERIFICATIONS, seconds, [verify]),
            *(
                open_loop(self.ports[port], LAG_PROBES, seconds, [get(target.get(name, "/healthz"))])
                for name, port in lags.items()
            ),
        )
        return samples[0], dict(zip(lags, samples[1:], strict=True))

    def memory(self) -> dict[str, float]:
        """Megabytes of each process."""
        processes = self.stack.processes()
        return {name: processes[name].memory_info().rss / 1e6 for name in PROCESSES if name in processes}

    async def watch(self) -> None:
        while True:
            for name, megabytes in self.memory().items():
                self.most[name] = max(self.most.get(name, 0.0), megabytes)
            await asyncio.sleep(0.5)


async def bench(stack: testing.Stack, ports: dict[str, int]) -> None:
    flood = Flood(stack, ports)
    logins = await flood.sign_up()
    token = (await ask(ports["AUTH_PORT"], logins[0]))["access_token"]
    bare = await asyncio.to_thread(argon2id_rate, SECONDS / 3)
    await flood.verifications(token, 2)  # warms everything up
    idle, idle_lags = await flood.verifications(token, SECONDS)
    before = flood.memory()
    watching = asyncio.create_task(flood.watch())
    arrivals = asyncio.create_task(open_loop(ports["GATEWAY_PORT"], FLOOD * bare, SECONDS + 4, logins))
    await asyncio.sleep(2)  # until what waits for a hash is as much as may
    spent = cpu_seconds(stack)
    flooded, flooded_lags = await flood.verifications(token, SECONDS)
    cores = {name: (seconds - spent[name]) / SECONDS for name, seconds in cpu_seconds(stack).items()}
    outcome = await arrivals
    watching.cancel()
    bare = (bare + await asyncio.to_thread(argon2id_rate, SECONDS / 3)) / 2
    _print(bare, (idle, idle_lags), (flooded, flooded_lags), outcome, (before, flood.most), cores)


def _print(
    bare: float,
    idle: tuple[Sample, dict[str, Sample]],
    flooded: tuple[Sample, dict[str, Sample]],
    logins: Sample,
    memory: tuple[dict[str, float], dict[str, float]],
    cores: dict[str, float],
) -> None:
    console = Console(width=110)
    table = Table("verifications", "answered 200", "others", "p50 ms", "p99 ms")
    for name, (sample, _) in (("idle", idle), ("in the flood", flooded)):
        others = sum(map(len, sample.by_status.values())) - sample.count(200)
        p50, p99 = sample.quantile(200, 0.5), sample.quantile(200, 0.99)
        table.add_row(name, str(sample.count(200)), str(others), f"{p50:.2f}", f"{p99:.2f}")
    console.print(table)
    ratio = flooded[0].quantile(200, 0.99) / idle[0].quantile(200, 0.99)
    console.print(f"ratio of p99: {ratio:.2f} (goal 1.5)")
    counts = ", ".join(f"{len(times)} with {status}" for status, times in sorted(logins.by_status.items()))
    rate = logins.count(200) / logins.seconds
    console.print(f"logins: {sum(map(len, logins.by_status.values()))} arrived in {logins.seconds:.0f} s: {counts}")
    console.print(
        f"completed: {rate:.1f} a second against {bare:.1f} of bare argon2id on {CORES} threads: "
        f"{rate / bare:.2f} (goal 0.9)"
    )
    p50, p99 = logins.quantile(503, 0.5), logins.quantile(503, 0.99)
    console.print(f"time until a refusal: p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal 50 ms)")
    table = Table("process", "a request for nothing, p99 ms: idle", "in the flood", "memory MB", "most", "cores")
    for name in PROCESSES:
        status = 404 if name == "gateway" else 200
        lags = [f"{lag[name].quantile(status, 0.99):.1f}" if name in lag else "" for _, lag in (idle, flooded)]
        table.add_row(name, *lags, *(f"{sizes.get(name, 0):.0f}" for sizes in memory), f"{cores.get(name, 0):.2f}")
    console.print(table)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        as_by_default = {"AUTH_THROTTLE_EXEMPT": "", "USERS_HASH_DEADLINE": "2"}
        stack = testing.start(Path(directory) / "data", GATEWAY_TRUSTED_PROXIES="127.0.0.1", **as_by_default)
        try:
            ports = {name: int(value) for name, value in stack.environment().items() if name.endswith("_PORT")}
            uvloop.run(bench(stack, ports))
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
