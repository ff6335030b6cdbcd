"""Measures the cost of tokens: logins against the rate of bare argon2id, refreshes, verifications, client_credentials.

Starts its own stack and sends requests directly to auth-service. Prints rates, each process's CPU time per request, and
the SQL statements per request that PostgreSQL logged.
"""

import asyncio
import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import uvloop
from argon2.low_level import Type, hash_secret
from rich.console import Console
from rich.table import Table

from bench.http_load import Connection, Make, Outcome, get, load, post
from dev import testing

SECONDS = 6.0
ROUNDS = 4
CORES = len(psutil.Process().cpu_affinity())
PROCESSES = ("auth_service", "user_service", "postgres")
LOGIN = post(
    "/oauth/token",
    b"grant_type=password&username=person1%40example.com&password=password&client_id=demo&client_secret=demo-secret",
    "application/x-www-form-urlencoded",
)
OPAQUE_LOGIN = post(
    "/oauth/token", b'{"grant_type": "password", "login": "person1@example.com", "password": "password"}'
)
CLIENT_CREDENTIALS = post(
    "/oauth/token",
    b"grant_type=client_credentials&client_id=demo&client_secret=demo-secret",
    "application/x-www-form-urlencoded",
)


def argon2id_rate(seconds: float) -> float:
    """Hashes per second of argon2id alone, with user-service's parameters and one thread per core."""
    counts = [0] * CORES
    deadline = time.perf_counter() + seconds

    def hash_on(thread: int) -> None:
        while time.perf_counter() < deadline:
            hash_secret(b"password", b"0123456789abcdef", 2, 19456, 1, 32, Type.ID)
            counts[thread] += 1

    threads = [threading.Thread(target=hash_on, args=(number,)) for number in range(CORES)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """User and system time of each process so far, including its children, such as PostgreSQL's backends."""
    spent = {}
    for name, process in processes.items():
        family = [process, *process.children(recursive=True)]
        spent[name] = sum(sum(member.cpu_times()[:2]) for member in family)
    return spent


class StatementLog:
    """Counts the statements that PostgreSQL logs, except those of the services' background work."""

    _BACKGROUND = re.compile(
        r"signing_keys|outbox|\bpg_|BEGIN|COMMIT|LISTEN|access_tokens_\d|user_epochs e\b.*interval"
    )

    def __init__(self, data_dir: Path, dsn: str) -> None:
        self._path = data_dir / "logs" / "postgres.log"
        self._dsn = dsn

    async def switch(self, on: bool) -> None:
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(f"ALTER SYSTEM SET log_statement = '{'all' if on else 'none'}'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        await asyncio.sleep(0.5)

    @contextmanager
    def counting(self) -> Iterator[list[int]]:
        """Yields a list that holds the count when the block ends."""
        offset = self._path.stat().st_size
        count: list[int] = []
        yield count
        text = self._path.read_bytes()[offset:].decode(errors="replace")
        statements = re.split(r"\n(?=\d{4}-\d\d-\d\d )", text)
        logged = [entry for entry in statements if re.search(r"LOG:  (execute|statement)", entry)]
        count.append(sum(1 for entry in logged if not self._BACKGROUND.search(entry)))


class Bench:
    def __init__(self, stack: testing.Stack, port: int, statements: StatementLog) -> None:
        self.stack = stack
        self.port = port
        self.statements = statements
        self.table = Table("request", "per second", "p50 ms", "p99 ms", *(f"{name} µs" for name in PROCESSES), "SQL")

    async def run(self, name: str, make: Make, connections: int) -> Outcome:
        """Apply load, then count the statements of fifty sequential requests."""
        await load(self.port, make, connections=connections, seconds=1)
        before = cpu_seconds(self.stack.processes())
        outcome = await load(self.port, make, connections=connections, seconds=SECONDS)
        after = cpu_seconds(self.stack.processes())
        if outcome.failures:
            raise SystemExit(f"{name}: {outcome.failures} of {outcome.requests} requests failed")
        costs = [f"{(after[name] - before[name]) / outcome.requests * 1e6:.0f}" for name in PROCESSES]
        sql = await self._statements_per_request(make)
        self.table.add_row(
            name, f"{outcome.rate:.1f}", f"{outcome.p50:.1f}", f"{outcome.p99:.1f}", *costs, f"{sql:.2f}"
        )
        return outcome

    async def _statements_per_request(self, make: Make, requests: int = 50) -> float:
        await self.statements.switch(True)
        connection = await Connection.open(self.port)
        with self.statements.counting() as count:
            for _ in range(requests):
                request, respond = make(0)
                _, body = await connection.exchange(request)
                if respond is not None:
                    respond(body)
        connection.close()
        await self.statements.switch(False)
        return count[0] / requests


async def ask(port: int, request: bytes) -> dict[str, str]:
    """The JSON response to one request."""
    connection = await Connection.open(port)
    status, body = await connection.exchange(request)
    connection.close()
    if status != 200:
        raise SystemExit(f"answered {status}")
    answer: dict[str, str] = json.loads(body)
    return answer


async def refreshing(port: int, login: bytes, client: str, workers: int) -> Make:
    """Each worker refreshes its own session repeatedly."""
    tokens = [(await ask(port, login))["refresh_token"] for _ in range(workers)]

    def make(worker: int) -> tuple[bytes, object]:
        def keep(body: bytes) -> None:
            tokens[worker] = json.loads(body)["refresh_token"]

        body = f"grant_type=refresh_token&refresh_token={tokens[worker]}{client}".encode()
        return post("/oauth/token", body, "application/x-www-form-urlencoded"), keep

    return make  # type: ignore[return-value]


async def bench(stack: testing.Stack, port: int, dsn: str) -> None:
    assert stack.data_dir is not None
    run = Bench(stack, port, StatementLog(stack.data_dir, dsn))
    await run.run("login (rfc6749)", lambda _: (LOGIN, None), 2 * CORES)
    demo = "&client_id=demo&client_secret=demo-secret"
    await run.run("refresh (rfc6749, signed)", await refreshing(port, LOGIN, demo, 16), 16)
    await run.run("refresh (doorkeeper, opaque)", await refreshing(port, OPAQUE_LOGIN, "", 16), 16)
    await run.run("client_credentials", lambda _: (CLIENT_CREDENTIALS, None), 16)
    for name, login in (("signed", LOGIN), ("opaque", OPAQUE_LOGIN)):
        token = (await ask(port, login))["access_token"]
        request = get("/verify-token", f"Authorization: Bearer {token}\r\n")
        await run.run(f"verification ({name})", lambda _, request=request: (request, None), 16)
    console = Console(width=140)
    console.print(run.table)
    bare, logins = await logins_against_argon2id(port)
    console.print(
        f"logins against bare argon2id on {CORES} threads, {ROUNDS} rounds in turn: "
        f"{logins:.1f} against {bare:.1f} per second, ratio {logins / bare:.2f} (goal 0.95)"
    )


async def logins_against_argon2id(port: int) -> tuple[float, float]:
    """Hashes and logins per second, alternating, so that other load on the machine affects both alike."""
    rates = [
        (
            argon2id_rate(SECONDS / 2),
            (await load(port, lambda _: (LOGIN, None), connections=8, seconds=SECONDS / 2)).rate,
        )
        for _ in range(ROUNDS)
    ]
    bare, logins = zip(*rates, strict=True)
    return sum(bare) / ROUNDS, sum(logins) / ROUNDS


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as directory,
        testing.running(Path(directory) / "data") as stack,
    ):
        settings = stack.environment()
        dsn = re.sub(r"//auth@/auth", "//postgres@/postgres", settings["AUTH_DATABASE_URL"])
        uvloop.run(bench(stack, int(settings["AUTH_PORT"]), dsn))


if __name__ == "__main__":
    main()
