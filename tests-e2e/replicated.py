"""A stack of two auth-service replicas, three of user-service and a gateway, each of which can be frozen."""

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp

from dev import processes
from dev.processes import Process, Program
from named import ADDRESSES

CLIENT = {"client_id": "app", "client_secret": secrets.token_hex(16)}
READY_WITHIN = 30.0


class Replica:
    """A process of the stack; `url` is its own address."""

    def __init__(self, program: Program, url: str) -> None:
        self._process = Process(program)
        self._program = program
        self.url = url
        self.name = program.name

    @property
    def output(self) -> str:
        return self._program.log.read_text()

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start the process, and return when it is ready."""
        await self._process.start()
        await self.ready(http)

    async def ready(self, http: aiohttp.ClientSession) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            assert self._process.runs, self.output
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(total=1)) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready")

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    async def kill(self) -> None:
        if self._process.runs:
            self._send(signal.SIGKILL)
        await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


class ReplicatedStack:
    """All processes, and the gateway's URL."""

    def __init__(self, auth: list[Replica], users: list[Replica], gateway: Replica, url: str) -> None:
        self.auth = auth
        self.users = users
        self.gateway = gateway
        self.url = url


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    ours = ("AUTH_", "USERS_", "GATEWAY_", "REDIS_URL", "SECRETS_DIR")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **variables}


@contextlib.asynccontextmanager
async def replicated(auth_database: str, users_database: str, directory: Path) -> AsyncIterator[ReplicatedStack]:
    """The stack on two empty databases, with `CLIENT` registered and sign-up open, for as long as the context lasts."""
    auth_port, users_port, gateway_port, ops_port = (_free_port() for _ in range(4))
    auth_url, users_url = f"http://auth.test:{auth_port}", f"http://users.test:{users_port}"
    auth = _environment(
        {
            "AUTH_PORT": str(auth_port),
            "AUTH_DATABASE_URL": auth_database,
            "AUTH_MASTER_KEYS": "m1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "AUTH_ISSUER": f"http://127.0.0.1:{gateway_port}",
            "AUTH_USERS_URL": users_url,
            "AUTH_THROTTLE_EXEMPT": "127.0.0.0/8",
            "AUTH_REFRESH_RATE": "1000000/minute",  # clients refresh twenty times per second while replicas freeze
        }
    )
    users = _environment(
        {
            "USERS_PORT": str(users_port),
            "USERS_DATABASE_URL": users_database,
            "USERS_ISSUER": f"http://127.0.0.1:{gateway_port}",
            "USERS_JWKS_URL": f"{auth_url}/.well-known/jwks.json",
            "USERS_OPEN_SIGN_UP": "true",
            "USERS_THROTTLE_EXEMPT": "127.0.0.0/8",
        }
    )
    gateway = _environment(
        {
            "GATEWAY_PORT": str(gateway_port),
            "GATEWAY_OPS_PORT": str(ops_port),
            "GATEWAY_AUTH_URL": auth_url,
            "GATEWAY_USERS_URL": users_url,
            "GATEWAY_ACCESS_LOG": "0",
            "GATEWAY_DRAIN_DELAY": "0",
        }
    )

    def replica(name: str, host: str, port: int, environment: Mapping[str, str], *command: str) -> Replica:
        log = directory / f"{name}.log"
        log.touch()
        program = Program(name, [sys.executable, _LAUNCHER, *command], environment, log, directory)
        return Replica(program, f"http://{host}:{port}")

    await _prepare(auth, users)
    stack = ReplicatedStack(
        [
            replica(f"auth-{host}", host, auth_port, {**auth, "AUTH_HOST": host}, "auth_service", "serve")
            for host in ADDRESSES["auth.test"]
        ],
        [
            replica(f"users-{host}", host, users_port, {**users, "USERS_HOST": host}, "user_service", "serve")
            for host in ADDRESSES["users.test"]
        ],
        replica("gateway", "127.0.0.1", ops_port, gateway, "gateway"),
        f"http://127.0.0.1:{gateway_port}",
    )
    everything = [*stack.auth, *stack.users, stack.gateway]
    async with aiohttp.ClientSession() as http:
        try:
            await asyncio.gather(*(each.start(http) for each in everything))
            yield stack
        finally:
            await asyncio.gather(*(each.kill() for each in everything))


async def _prepare(auth: Mapping[str, str], users: Mapping[str, str]) -> None:
    await asyncio.gather(
        processes.run("auth-service", [sys.executable, "-m", "auth_service", "migrate"], auth),
        processes.run("user-service", [sys.executable, "-m", "user_service", "migrate"], users),
    )
    add = ("clients", "add", CLIENT["client_id"], "--dialect=rfc6749", f"--secret={CLIENT['client_secret']}")
    grants = ("--grant-type=password", "--grant-type=refresh_token")
    await processes.run("auth-service", [sys.executable, "-m", "auth_service", *add, *grants], auth)


_LAUNCHER = str(Path(__file__).with_name("named.py"))
