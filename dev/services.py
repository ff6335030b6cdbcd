"""The three services: their environments, command lines and processes."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from dev.data_directory import DataDirectory
from dev.errors import StartError
from dev.postgres import Postgres
from dev.processes import Process, Program
from dev.settings import HOST, Settings

# Variables of one service that another one reads too.
SHARED = ("GATEWAY_READ_TIMEOUT",)
READY_TIMEOUT = 30.0
POLL_EVERY = 0.03


@dataclass(frozen=True)
class Service:
    """A service's command line, settings, and URL of `/readyz`."""

    name: str
    module: str
    serve: tuple[str, ...]
    variables: Mapping[str, str]
    ready_url: str

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without other services' variables, plus the stack's settings."""
        prefix = next(iter(self.variables)).partition("_")[0] + "_"
        others = tuple({"AUTH_", "USERS_", "GATEWAY_", "REDIS_URL", "SECRETS_DIR"} - {prefix})
        inherited = {name: value for name, value in os.environ.items() if name in SHARED or not name.startswith(others)}
        return {**inherited, **self.variables}

    def command(self, *arguments: str) -> list[str]:
        """The service's command line, run by this interpreter."""
        return [sys.executable, "-m", self.module, *arguments]

    def process(self, data: DataDirectory) -> Process:
        """The service's process, not yet started."""
        log = data.logs / f"{self.name}.log"
        return Process(Program(self.name, self.command(*self.serve), self.environment, log, data.root))


def auth_service(settings: Settings, data: DataDirectory, postgres: Postgres, redis: Mapping[str, str]) -> Service:
    return Service(
        "auth-service",
        "auth_service",
        ("serve",),
        {
            "AUTH_HOST": HOST,
            "AUTH_PORT": str(settings.auth_port),
            "AUTH_DATABASE_URL": postgres.url("auth", "auth"),
            "AUTH_ISSUER": settings.public_url,
            "AUTH_USERS_URL": f"http://{HOST}:{settings.users_port}",
            "SECRETS_DIR": str(data.secrets),
            **redis,
        },
        f"http://{HOST}:{settings.auth_port}/readyz",
    )


def user_service(settings: Settings, postgres: Postgres, redis: Mapping[str, str]) -> Service:
    """user-service, with a password policy that allows the documents' own examples."""
    return Service(
        "user-service",
        "user_service",
        ("serve",),
        {
            "USERS_HOST": HOST,
            "USERS_PORT": str(settings.users_port),
            "USERS_DATABASE_URL": postgres.url("users", "users"),
            "USERS_ISSUER": settings.public_url,
            "USERS_JWKS_URL": f"http://{HOST}:{settings.auth_port}/.well-known/jwks.json",
            "USERS_DEVELOPMENT": "true",
            "USERS_OPEN_SIGN_UP": "true",
            "USERS_PASSWORD_MIN_LENGTH": "6",
            "USERS_PASSWORD_BLOCKLIST": "false",
            **redis,
        },
        f"http://{HOST}:{settings.users_port}/readyz",
    )


def gateway(settings: Settings) -> Service:
    return Service(
        "gateway",
        "gateway",
        (),
        {
            "GATEWAY_HOST": HOST,
            "GATEWAY_PORT": str(settings.gateway_port),
            "GATEWAY_OPS_PORT": str(settings.gateway_ops_port),
            "GATEWAY_AUTH_URL": f"http://{HOST}:{settings.auth_port}",
            "GATEWAY_USERS_URL": f"http://{HOST}:{settings.users_port}",
            "GATEWAY_DRAIN_DELAY": "0",  # there is no load balancer to notice first
        },
        f"http://{HOST}:{settings.gateway_ops_port}/readyz",
    )


async def until_ready(session: aiohttp.ClientSession, service: Service, process: Process) -> None:
    """Wait until a started service is ready. Raises `StartError` if it ends instead or takes too long."""
    deadline = time.monotonic() + READY_TIMEOUT
    while process.runs and time.monotonic() < deadline:
        try:
            async with session.get(service.ready_url) as response:
                if response.status == 200:
                    return
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(POLL_EVERY)
    what = f"is not ready after {READY_TIMEOUT:.0f} s" if process.runs else "ended"
    raise StartError(f"{service.name} {what}: {process.complaint()}")
