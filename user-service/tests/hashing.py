"""Tools for tests of hashing: checks that keep a thread busy, the threads' CPU time, and a locked users table."""

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
# A login with the right password replaces this hash: if it is still there, it was never verified.
OUTDATED = argon2.PasswordHasher(memory_cost=64, time_cost=1, parallelism=1).hash(PASSWORD)
PATIENCE = 20.0


def costly_hash(passes: int = 150) -> str:
    """A stored hash that matches no password and takes this many passes, a second or more, to verify."""
    salt, digest = (base64.b64encode(bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m=19456,t={passes},p=1${salt}${digest}"


def hashing_seconds() -> float:
    """CPU seconds that all hashing threads of this process have used so far."""
    threads = [thread.ident for thread in threading.enumerate() if thread.name.startswith("password")]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in threads if ident is not None)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds; fail after twenty seconds."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def hashing_goes_on(seconds: float = 0.05) -> None:
    """Wait until the hashing threads have used this much more CPU time."""
    before = hashing_seconds()

    async def more() -> bool:
        return hashing_seconds() > before + seconds

    await until(more)


async def add_users(service: Any, **stored: str) -> None:
    """Add users with these user names and stored password hashes."""
    for name, password_hash in stored.items():
        user = await service.add(username=name)
        await service.rows("UPDATE users SET password_hash = $1 WHERE id = $2", password_hash, user.id)


async def verified(service: Any) -> set[str]:
    """The user names of all users whose outdated hash has been replaced."""
    rows = await service.rows("SELECT username FROM users WHERE password_hash LIKE '%m=19456,t=2,p=1%'")
    return {row["username"] for row in rows}


class LockedUsers:
    """A lock on the users table: nobody else can read it, so requests stop at their first query."""

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
