"""Kill processes under load, and then check everything that was acknowledged."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from drivers import RFC6749
from exchange import bearer, send
from operations import until
from persevering import Ledger, PerseveringClient, Session

AT_ONCE = 8
RECOVERY = 15.0


async def kill_under_load(clients: list[PerseveringClient], kill: Callable[[], Awaitable[None]]) -> float:
    """Kill while every client is active, and let each begin a new life after the recovery."""

    def lived_since(moment: float) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return all(client.last_life_began > moment for client in clients)

        return check

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as lives:
        for client in clients:
            lives.create_task(client.live_until(stop))
        await until(lived_since(0.0), RECOVERY)
        killed_at = time.monotonic()
        await kill()
        await until(lived_since(killed_at), 2 * RECOVERY)
        stop.set()
    return killed_at


async def audit(http: aiohttp.ClientSession, ledger: Ledger, known: set[str]) -> None:
    """Check that ended sessions are refused and live ones work; those `known` were checked before and do not log in."""
    auditor = PerseveringClient(http, ledger)
    await _each(auditor.must_be_refused, ledger.ended)
    await _each(_still_current(auditor), ledger.live)
    await _audit_users(http, auditor, ledger, known)
    assert auditor.failures == []


def _still_current(auditor: PerseveringClient) -> Callable[[Session], Awaitable[None]]:
    async def check(session: Session) -> None:
        await auditor.must_be_accepted(session)
        await auditor.refresh(session)

    return check


async def _audit_users(
    http: aiohttp.ClientSession, auditor: PerseveringClient, ledger: Ledger, known: set[str]
) -> None:
    """Check that all who signed up are listed and the deleted are not; those new in this round try to log in."""
    listed = await _listed(http)
    assert ledger.passwords.keys() - listed == set()
    assert ledger.gone.keys() & listed == set()

    async def log_in(email: str) -> None:
        await auditor.log_in(email, ledger.passwords[email], RFC6749)

    async def fail_to_log_in(email: str) -> None:
        await auditor.must_not_log_in(email, ledger.gone[email])

    await _each(log_in, ledger.passwords.keys() - known)
    await _each(fail_to_log_in, ledger.gone.keys() - known)


async def _listed(http: aiohttp.ClientSession) -> set[str]:
    """The e-mail addresses of all users."""
    token = (await RFC6749.log_in(http, username="admin@example.com")).access_token
    emails: set[str] = set()
    after = 0
    while after is not None:
        page = (await send(http, "GET", f"/api/v1/users?after={after}&limit=100", bearer(token))).json()
        emails |= {user["email"] for user in page["users"] if user["email"]}
        after = page["next"]
    return emails


async def _each(check: Callable[[Any], Awaitable[None]], subjects: Any) -> None:
    """Check all subjects, a few at a time; there must be at least one."""
    assert subjects
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(subject: Any) -> None:
        async with slots:
            await check(subject)

    async with asyncio.TaskGroup() as checks:
        for subject in subjects:
            checks.create_task(one(subject))
