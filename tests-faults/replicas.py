"""The stack under test: several replicas of each service as real processes, each on its own loopback address."""

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import aiohttp
import asyncpg
import psutil

from dev import processes, redis, seed, services
from dev.data_directory import DataDirectory
from dev.errors import StartError
from dev.migrations import migrate
from dev.postgres import Postgres
from dev.processes import Process
from dev.services import Service
from dev.settings import Settings
from drivers import REFRESHING
from hops import Hops, Ways, address
from name_server import NameServer

COUNTS = {"gateway": 2, "auth-service": 2, "user-service": 3}
ISSUER = "http://parley.test"
STOP_PATIENCE = 40.0
READY_TIMEOUT = aiohttp.ClientTimeout(total=2)
# All clients share one address. Redis is still asked.
NO_LIMIT = "1000000/minute"
AUTH_BUDGETS = ("LOGIN_PAIR", "LOGIN_NETWORK", "LOGIN_ATTEMPTS", "SECRET_PAIR", "SECRET_NETWORK", "REFRESH")
USERS_BUDGETS = ("SIGN_UP", "PASSWORD_PAIR", "PASSWORD_NETWORK", "PASSWORD_ATTEMPTS")
# Hours of load must fit on a small disk.
SMALL = ("ALTER SYSTEM SET max_wal_size = '96MB'", "ALTER SYSTEM SET min_wal_size = '32MB'", "SELECT pg_reload_conf()")


@dataclass
class Replica:
    """One process of a service, with its children."""

    name: str
    service: Service
    process: Process

    @property
    def kind(self) -> str:
        return self.name.rpartition("-")[0]

    def family(self) -> list[psutil.Process]:
        """Its process and all descendants."""
        return family(self.process)


def family(process: Process) -> list[psutil.Process]:
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


@dataclass(frozen=True)
class Piped(Service):
    """A service that writes its log to a pipe."""

    pipe: Path

    def command(self, *arguments: str) -> list[str]:
        return ["/bin/sh", "-c", 'exec "$@" >"$0" 2>&1', str(self.pipe), *super().command(*arguments)]


class Authority(Protocol):
    """The certificate authority that signs the gateways' certificates."""

    def context(self) -> ssl.SSLContext:
        """The context with which clients verify the gateways."""

    def renew(self, seconds: float, *, after_key: float = 0.0) -> None:
        """Write a new certificate that is valid for `seconds`."""


class Stack:
    """PostgreSQL, Redis and all replicas.

    Replicas get these when they next start: `variables`, settings by service or replica, and `pipes`, to which they
    write their logs and from which `readers` read. With an `authority`, the gateways speak TLS.
    """

    def __init__(self, directory: Path, names: NameServer) -> None:
        self.data = DataDirectory(directory)
        self.hops = Hops(names)
        self.names = names
        self.variables: dict[str, dict[str, str]] = {}
        self.pipes: dict[str, Path] = {}
        self.readers: dict[str, asyncio.subprocess.Process] = {}
        self.authority: Authority | None = None
        self.replicas: dict[str, Replica] = {}
        self.redis: Process | None = None
        self.standby: Postgres | None = None
        self._settings = Settings(gateway_port=8080, gateway_ops_port=8090, auth_port=8081, users_port=8082)

    async def start(self) -> None:
        """Start everything. Raises `StartError`."""
        for directory in (self.data.logs, self.data.secrets):
            directory.mkdir(parents=True, exist_ok=True)
        self.data.make_secrets()
        self.postgres = await asyncio.to_thread(
            Postgres, self.data.postgres, self.data.logs / "postgres.log", address=address("postgres-1")
        )
        await self.postgres.start()
        await self.postgres.create_databases()
        async with self.superuser("postgres") as connection:
            for statement in SMALL:
                await connection.execute(statement)
        await self._start_redis()
        auth = services.auth_service(self._settings, self.data, self.postgres, {})
        users = services.user_service(self._settings, self.postgres, {})
        await processes.together(
            migrate(auth, self.postgres.url("auth", "auth")), migrate(users, self.postgres.url("users", "users"))
        )
        await processes.together(*(self._register(auth, driver.client_id) for driver in REFRESHING))
        await self.start_replicas(names for kind in COUNTS for names in self.of(kind))

    async def _start_redis(self) -> None:
        server = redis.executable()
        if server is not None:
            self.redis = redis.process(server, 6379, self.data)
            await self.redis.start()

    async def _register(self, auth: Service, client_id: str) -> None:
        arguments = ("clients", "add", client_id, *seed.CLIENTS[client_id])
        await processes.run(client_id, auth.command(*arguments), auth.environment)

    def of(self, kind: str) -> list[str]:
        """The names of a service's replicas."""
        return [f"{kind}-{number}" for number in range(1, COUNTS[kind] + 1)]

    async def start_replicas(self, names: Iterable[str]) -> None:
        """Start these replicas and wait until each is ready."""
        started = [await self._start_replica(name) for name in names]
        async with aiohttp.ClientSession(timeout=READY_TIMEOUT) as session:
            await processes.together(
                *(services.until_ready(session, replica.service, replica.process) for replica in started)
            )

    async def _start_replica(self, name: str) -> Replica:
        service = self._service(name)
        replica = Replica(name, service, service.process(self.data))
        await replica.process.start()
        self.replicas[name] = replica
        return replica

    def _service(self, name: str) -> Service:
        """The service with the settings of one replica."""
        kind = name.rpartition("-")[0]
        host = address(name)
        shared = {"REDIS_URL": f"redis://redis.{name}:6379/0"} if self.redis is not None else {}
        match kind:
            case "auth-service":
                service = services.auth_service(self._settings, self.data, self.postgres, shared)
                changed = {
                    "AUTH_HOST": host,
                    "AUTH_DATABASE_URL": self.hops.database_url("auth", name),
                    "AUTH_ISSUER": ISSUER,
                    "AUTH_USERS_URL": f"http://user-service.{name}:8082",
                    **{f"AUTH_THROTTLE_{budget}": NO_LIMIT for budget in AUTH_BUDGETS},
                    "AUTH_REFRESH_RATE": NO_LIMIT,  # the load's clients refresh several times a second
                }
                ready_url = f"http://{host}:8081/readyz"
            case "user-service":
                service = services.user_service(self._settings, self.postgres, shared)
                changed = {
                    "USERS_HOST": host,
                    "USERS_DATABASE_URL": self.hops.database_url("users", name),
                    "USERS_ISSUER": ISSUER,
                    "USERS_JWKS_URL": f"http://auth-service.{name}:8081/.well-known/jwks.json",
                    **{f"USERS_THROTTLE_{budget}": NO_LIMIT for budget in USERS_BUDGETS},
                }
                ready_url = f"http://{host}:8082/readyz"
            case _:
                service = services.gateway(self._settings)
                changed = {
                    "GATEWAY_HOST": host,
                    "GATEWAY_OPS_HOST": host,
                    "GATEWAY_AUTH_URL": f"http://auth-service.{name}:8081",
                    "GATEWAY_USERS_URL": f"http://user-service.{name}:8082",
                    "GATEWAY_DRAIN_DELAY": "2",  # longer than the load's doors take to notice
                    "GATEWAY_WORKERS": name.rpartition("-")[2],  # gateway-2 has two, for faults of a worker
                }
                ready_url = f"http://{host}:8090/readyz"
        variables = {**service.variables, **changed, **self.variables.get(kind, {}), **self.variables.get(name, {})}
        started = replace(service, name=name, variables=variables, ready_url=ready_url)
        return Piped(**vars(started), pipe=self.pipes[name]) if name in self.pipes else started

    async def restart(self, *kinds: str) -> None:
        """Stop all replicas of these services and start them; nobody is served meanwhile."""
        names = [name for kind in kinds for name in self.of(kind)]
        await asyncio.gather(*(self.replicas[name].process.stop(STOP_PATIENCE) for name in names))
        await self.start_replicas(names)

    async def replace(self, name: str, *, wait: bool = True) -> None:
        """Stop a replica as a container is stopped, start another, and if `wait`, wait until that one is ready."""
        process = self.replicas[name].process
        psutil.Process(process.pid).terminate()  # not its children, which their parent must stop
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_PATIENCE)
        await process.stop(STOP_PATIENCE)
        if wait:
            await self.start_replicas([name])
        else:
            await self._start_replica(name)

    async def lead(self, ways: Ways) -> None:
        """Make names resolve to the replicas or to relays in front of them, and restart all services."""
        if self.hops.relayed == (ways == "relayed"):
            return
        await (self.hops.relay() if ways == "relayed" else self.hops.close())
        await self.restart(*COUNTS)

    async def recover(self) -> None:
        """Restart processes that have ended or are not ready in time. Raises `StartError`.

        Logs are truncated, because their disk is small.
        """
        for log in self.data.logs.iterdir():
            os.truncate(log, 0)
        if not self.postgres.process.runs:
            await self.postgres.start()
        if self.redis is not None and not self.redis.runs:
            await self.redis.start()
        async with aiohttp.ClientSession(timeout=READY_TIMEOUT) as session:
            for name, replica in list(self.replicas.items()):
                try:
                    await services.until_ready(session, replica.service, replica.process)
                except StartError:
                    if replica.process.runs:
                        await kill(replica.process)
                    await self.start_replicas([name])

    async def stop(self) -> None:
        """Stop everything."""
        for replica in self.replicas.values():
            resume(replica.process)
        await asyncio.gather(*(replica.process.stop(1) for replica in self.replicas.values()))
        servers = (self.postgres, self.standby)
        for process in (*(server.process for server in servers if server is not None), self.redis):
            if process is not None:
                resume(process)
                await process.stop(5)
        await self.hops.close()

    @contextlib.asynccontextmanager
    async def superuser(self, database: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection through the server's Unix socket, which network faults do not affect."""
        connection = await asyncpg.connect(self.postgres.url(database, "postgres"), timeout=5)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)


def suspend(process: Process) -> None:
    """Stop a process and then its descendants, so that it cannot start others."""
    psutil.Process(process.pid).suspend()
    for one in family(process):
        one.suspend()


def resume(process: Process) -> None:
    if process.runs:
        for one in family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()


async def kill(process: Process) -> None:
    """`kill -9` a process and its descendants."""
    for one in family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(one.pid, signal.SIGKILL)
    await process.wait()
