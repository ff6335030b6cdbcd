"""`kill -9` of everything in turn, under load: nothing acknowledged is lost, and nothing that was ended lives."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import psutil
import pytest

from dev import testing
from drivers import RFC6749
from exchange import bearer, send
from operations import family, until
from persevering import Ledger, PerseveringClient, Session

pytestmark = pytest.mark.skipif("PARLEY_URL" in os.environ, reason="the stack under test runs elsewhere")

CLIENTS = 5
AT_ONCE = 8
RECOVERY = 15.0

Victims = Callable[[testing.Stack], list[psutil.Process]]
VICTIMS: dict[str, Victims] = {
    "gateway": lambda stack: [stack.processes()["gateway"]],
    "auth-service": lambda stack: [stack.processes()["auth_service"]],
    "user-service": lambda stack: [stack.processes()["user_service"]],
    "postmaster of PostgreSQL": lambda stack: [stack.processes()["postgres"]],
    "every process of PostgreSQL": lambda stack: family(stack.processes()["postgres"]),
}


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Stack]:
    stack = testing.start(tmp_path_factory.mktemp("kill") / "data")
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
async def http(own_stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(own_stack.url, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
        yield session


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """What was acknowledged in all rounds so far."""
    return Ledger()


@pytest.mark.parametrize("victim", VICTIMS)
async def test_what_was_acknowledged_outlives_a_kill(
    own_stack: testing.Stack, http: aiohttp.ClientSession, ledger: Ledger, victim: str
) -> None:
    known = {*ledger.passwords, *ledger.gone}
    clients = [PerseveringClient(http, ledger) for _ in range(CLIENTS)]
    killed_at = await _kill_under_load(clients, VICTIMS[victim](own_stack))
    failures = [failure for client in clients for failure in client.failures]
    assert failures, "nobody noticed"
    recovered = max(failed_at for failed_at, _ in failures) - killed_at
    causes = dict(Counter(cause for _, cause in failures))
    print(f"\n{victim}: back after {recovered:.1f} s ({causes}); so far {dict(ledger.done)}")
    assert recovered < RECOVERY

    auditor = PerseveringClient(http, ledger)
    await _each(auditor.must_be_refused, ledger.ended)
    await _each(_still_current(auditor), ledger.live)
    await _audit_users(http, auditor, ledger, known)
    assert auditor.failures == []


async def _kill_under_load(clients: list[PerseveringClient], victims: list[psutil.Process]) -> float:
    """Kill when every client is in the middle of things, and let each live on when all is well again."""

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
        for process in victims:
            process.kill()
        await until(lived_since(killed_at), RECOVERY)
        stop.set()
    return killed_at


def _still_current(auditor: PerseveringClient) -> Callable[[Session], Awaitable[None]]:
    async def check(session: Session) -> None:
        await auditor.must_be_accepted(session)
        await auditor.refresh(session)

    return check


async def _audit_users(
    http: aiohttp.ClientSession, auditor: PerseveringClient, ledger: Ledger, known: set[str]
) -> None:
    """All who signed up are listed and all who were deleted are not; those new in this round try to log in."""
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
    """Check every one, some at a time; there must be some."""
    assert subjects
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(subject: Any) -> None:
        async with slots:
            await check(subject)

    async with asyncio.TaskGroup() as checks:
        for subject in subjects:
            checks.create_task(one(subject))
