"""An operator's actions on a stack on this machine: command lines, SQL as superuser, suspending processes."""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
import psutil

from dev.testing import Stack
from drivers import Driver

COMMAND_TIMEOUT = 60.0
LOOK_EVERY = 0.02


def command_line(stack: Stack, module: str, *arguments: str) -> list[str]:
    """`python -m module arguments`, here or in a container of the service."""
    python = [*stack.compose, "exec", "-T", module.replace("_", "-"), "python"] if stack.compose else [sys.executable]
    return [*python, "-m", module, *arguments]


async def command(stack: Stack, module: str, *arguments: str, stdin: str = "") -> str:
    """Run `python -m module arguments`, which must succeed; returns its standard output."""
    process = await asyncio.create_subprocess_exec(
        *command_line(stack, module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **({} if stack.compose else stack.environment())},
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(stdin.encode()), COMMAND_TIMEOUT)
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()


async def clients(stack: Stack, *arguments: str) -> Any:
    """The JSON output of `auth_service clients`."""
    return json.loads(await command(stack, "auth_service", "clients", *arguments, "--json"))


async def register_like(stack: Stack, driver: Driver, secret: str | None = None) -> Driver:
    """Register a separate client with a secret in the same dialect; it identifies itself in every request."""
    identity = {"client_id": f"{driver.name}-{secrets.token_hex(4)}", "client_secret": secret or secrets.token_hex(32)}
    dialect = (f"--dialect={driver.name}", f"--secret={identity['client_secret']}")
    await clients(stack, "add", identity["client_id"], *dialect)
    return replace(driver, client=identity, identity=identity, extra={})


async def users(stack: Stack, *arguments: str, stdin: str = "") -> Any:
    """The JSON output of `user_service users`."""
    return json.loads(await command(stack, "user_service", "users", *arguments, "--json", stdin=stdin))


def master_key(stack: Stack) -> str:
    """The master key with which auth-service encrypts, in base64."""
    assert stack.data_dir is not None
    return (stack.data_dir / "secrets" / "AUTH_MASTER_KEYS").read_text().partition(":")[2]


async def internal_token(stack: Stack, access_token: str) -> str:
    """The token that the gateway substitutes for this one, requested directly, which no client can do."""
    headers = {"Authorization": f"Bearer {access_token}"}
    url = f"http://127.0.0.1:{stack.environment()['AUTH_PORT']}/verify-token"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        return str((await response.json())["internal_token"])


async def connect(stack: Stack, database: str) -> asyncpg.Connection:
    """A connection as the superuser, who owns the embedded PostgreSQL."""
    address = urlsplit(stack.environment()["AUTH_DATABASE_URL"])
    return await asyncpg.connect(urlunsplit(address._replace(netloc="postgres@", path=f"/{database}")), timeout=5)


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all its descendants, with the process itself first."""
    return [process, *process.children(recursive=True)]


@contextlib.contextmanager
def suspended(*processes: psutil.Process) -> Iterator[None]:
    """Suspend processes with SIGSTOP while the context lasts: they accept connections but answer nothing."""
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


async def until(check: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Poll until `check` returns true, treating a request without an answer as false; returns the seconds it took."""
    started = time.monotonic()
    while not await _holds(check):
        assert time.monotonic() - started < seconds, f"not so within {seconds} s"
        await asyncio.sleep(LOOK_EVERY)
    return time.monotonic() - started


async def _holds(check: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await check()
    except (aiohttp.ClientError, OSError):  # TimeoutError is one
        return False
