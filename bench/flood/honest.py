"""Honest clients: logins, refreshes and reads at a constant rate, each over a connection from a different network.

Run as a program, it reads a `Plan` in JSON from standard input and writes the outcomes and sessions.
"""

import asyncio
import json
import ssl
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from bench.flood.arrivals import arrivals, milliseconds_since
from bench.http_load import Connection, get, post

SECONDS = 10.0
# Requests per second. In ten seconds each session is refreshed once and no user logs in twice: no limit is near.
LOGINS, REFRESHES, READS, OPERATIONS = 5.0, 10.0, 20.0, 2.0
RATES = {"logins": LOGINS, "refreshes": REFRESHES, "reads": READS, "operations": OPERATIONS}
PATIENCE = 10.0
SESSIONS = 100
PASSWORD = "password"
BROKEN = 0  # the status of requests without a response

Outcomes = dict[str, list[tuple[int, float]]]


@dataclass
class Plan:
    """`first_login` is the number of the first user to log in; `sessions` are for refreshing and reading."""

    host: str
    port: int
    ops_port: int
    tls: bool
    sources: list[str]
    seconds: float
    first_login: int = 0
    sessions: list[dict[str, str]] = field(default_factory=list)


def email(number: int) -> str:
    """The login name of an honest user; each network has one."""
    return f"honest{number}@example.com"


def login_request(login: str, password: str) -> bytes:
    return post("/oauth/token", json.dumps({"grant_type": "password", "login": login, "password": password}).encode())


def refresh_request(token: str) -> bytes:
    return post("/oauth/token", json.dumps({"grant_type": "refresh_token", "refresh_token": token}).encode())


def read_request(token: str) -> bytes:
    return get("/api/v1/users/me", f"Authorization: Bearer {token}\r\n")


def unchecked_tls() -> ssl.SSLContext:
    """A TLS context for the benchmark's own certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class HonestClients:
    def __init__(self, plan: Plan) -> None:
        self.outcomes: Outcomes = {kind: [] for kind in RATES}
        self._plan = plan
        self._tls = unchecked_tls() if plan.tls else None
        self._waiting = deque(enumerate(plan.sessions))

    async def live(self) -> None:
        acts = {"logins": self._log_in, "refreshes": self._refresh, "reads": self._read, "operations": self._look}
        await asyncio.gather(*(arrivals(RATES[kind], self._plan.seconds, act) for kind, act in acts.items()))

    async def begin(self) -> list[dict[str, str]]:
        """Log in the users who need a session, four at a time."""
        slots = asyncio.Semaphore(4)

        async def log_in(number: int) -> dict[str, str]:
            async with slots:
                status, body = await self._exchange(number, login_request(email(number), PASSWORD))
            if status != 200:
                raise SystemExit(f"an honest login got {status} before any attack")
            return json.loads(body)  # type: ignore[no-any-return]

        return list(await asyncio.gather(*map(log_in, range(SESSIONS))))

    async def _log_in(self, turn: int, due: float) -> None:
        number = SESSIONS + (self._plan.first_login + turn) % (len(self._plan.sources) - SESSIONS)
        await self._ask("logins", due, number, login_request(email(number), PASSWORD))

    async def _refresh(self, _turn: int, due: float) -> None:
        """Refresh the session that was refreshed longest ago. Without a response, it keeps its token."""
        number, session = self._waiting.popleft()
        answer = await self._ask("refreshes", due, number, refresh_request(session["refresh_token"]))
        if answer:
            session.update(json.loads(answer))
        self._waiting.append((number, session))

    async def _read(self, turn: int, due: float) -> None:
        number = turn % len(self._plan.sessions)
        await self._ask("reads", due, number, read_request(self._plan.sessions[number]["access_token"]))

    async def _look(self, _turn: int, due: float) -> None:
        """Query the operations port, as a load balancer does."""
        status = BROKEN
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await Connection.open(self._plan.ops_port, self._plan.host)
                status, _ = await connection.exchange(get("/healthz"))
                connection.close()
        except (OSError, EOFError):
            pass
        self.outcomes["operations"].append((status, milliseconds_since(due)))

    async def _ask(self, kind: str, due: float, number: int, request: bytes) -> bytes:
        """The body of a successful response; empty if there was none in time."""
        try:
            status, body = await self._exchange(number, request)
        except (OSError, EOFError):  # a timeout is an OSError
            status, body = BROKEN, b""
        self.outcomes[kind].append((status, milliseconds_since(due)))
        return body if status == 200 else b""

    async def _exchange(self, number: int, request: bytes) -> tuple[int, bytes]:
        source = self._plan.sources[number]
        async with asyncio.timeout(PATIENCE):
            connection = await Connection.open(self._plan.port, self._plan.host, local_addr=(source, 0), ssl=self._tls)
            try:
                return await connection.exchange(request)
            finally:
                connection.close()


async def live(plan: Plan) -> Outcomes:
    """Run honest clients in their own process for `seconds`; updates the sessions."""
    result = await _run_program("bench.flood.honest", asdict(plan))
    plan.sessions = result["sessions"]
    return {kind: [(status, took) for status, took in outcomes] for kind, outcomes in result["outcomes"].items()}


async def _run_program(module: str, plan: dict[str, Any]) -> dict[str, Any]:
    """The JSON output of a module run as a program with this plan as its input."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, stdin=pipe, stdout=pipe)
    try:
        output, _ = await process.communicate(json.dumps(plan).encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise SystemExit(f"{module} ended with status {process.returncode}")
    return json.loads(output)  # type: ignore[no-any-return]


async def _main(plan: Plan) -> dict[str, Any]:
    clients = HonestClients(plan)
    await clients.live()
    return {"outcomes": clients.outcomes, "sessions": plan.sessions}


if __name__ == "__main__":
    json.dump(uvloop.run(_main(Plan(**json.load(sys.stdin)))), sys.stdout)
