"""Tools for tests of hashing: checks that keep a thread busy, the threads' load, a database that holds still."""

import asyncio
import base64
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import argon2
import asyncpg

PASSWORD = "correct horse battery"
# A login with the right password replaces this hash: what is still there was never verified.
OUTDATED = argon2.PasswordHasher(memory_cost=64, time_cost=1, parallelism=1).hash(PASSWORD)
PATIENCE = 20.0


def costly_hash(passes: int = 150) -> str:
    """A stored hash that no password matches, and that takes so many passes to find out: a second or more."""
    salt, digest = (base64.b64encode(bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m=19456,t={passes},p=1${salt}${digest}"


def hashing_seconds() -> float:
    """The processor's time that all hashing threads of this process have taken so far."""
    threads = [thread.ident for thread in threading.enumerate() if thread.name.startswith("password")]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in threads if ident is not None)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds; fail when it does not in twenty seconds."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def hashing_goes_on(seconds: float = 0.05) -> None:
    """Wait until the hashing threads have worked for so long from now on."""
    before = hashing_seconds()

    async def more() -> bool:
        return hashing_seconds() > before + seconds

    await until(more)


async def add_users(service: Any, **stored: str) -> None:
    """Users with these user names, and the hashes that are stored of their passwords."""
    for name, password_hash in stored.items():
        user = await service.add(username=name)
        await service.rows("UPDATE users SET password_hash = $1 WHERE id = $2", password_hash, user.id)


async def verified(service: Any) -> set[str]:
    """The user names of all whose outdated hash has been replaced."""
    rows = await service.rows("SELECT username FROM users WHERE password_hash LIKE '%m=19456,t=2,p=1%'")
    return {row["username"] for row in rows}


class LockedUsers:
    """Nobody else can read the users while they are locked, so that requests stop where they ask the database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def waiting(self) -> int:
        count: int = await self._connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return count

    async def wait_for(self, count: int) -> None:
        async def waiting() -> bool:
            return await self.waiting() == count

        await until(waiting)


@contextlib.asynccontextmanager
async def locked_users(database_url: str) -> AsyncIterator[LockedUsers]:
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            yield LockedUsers(connection)
    finally:
        await connection.close()


def check(service: Any, login: str = "nobody", network: str | None = None, **headers: str) -> Any:
    token = service.issuer.service_token("credentials:check")
    body = {"login": login, "password": PASSWORD, "network": network}
    return service.request("POST", "/internal/credentials/check", body, token=token, headers=headers)
