"""`kill -9` of every process in turn, under load: acknowledged writes survive, and ended sessions stay ended."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from dev import testing
from killing import RECOVERY, audit, kill_under_load
from marks import needs_own_stack
from operations import family
from persevering import Ledger, PerseveringClient, persevering_session

pytestmark = needs_own_stack

CLIENTS = 5

Victims = Callable[[testing.Stack], list[psutil.Process]]
VICTIMS: dict[str, Victims] = {
    "gateway": lambda stack: [stack.processes()["gateway"]],
    "auth-service": lambda stack: [stack.processes()["auth_service"]],
    "user-service": lambda stack: [stack.processes()["user_service"]],
    "postmaster of PostgreSQL": lambda stack: [stack.processes()["postgres"]],
    "every process of PostgreSQL": lambda stack: family(stack.processes()["postgres"]),
}


@pytest.fixture(scope="module")
def own_stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    with testing.running(new_data_dir()) as stack:
        yield stack


@pytest.fixture
async def http(own_stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with persevering_session(own_stack.url) as session:
        yield session


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """Everything acknowledged in all rounds so far."""
    return Ledger()


@pytest.mark.parametrize("victim", VICTIMS)
async def test_what_was_acknowledged_outlives_a_kill(
    own_stack: testing.Stack, http: aiohttp.ClientSession, ledger: Ledger, victim: str
) -> None:
    known = {*ledger.passwords, *ledger.gone}
    clients = [PerseveringClient(http, ledger) for _ in range(CLIENTS)]
    victims = VICTIMS[victim](own_stack)

    async def kill() -> None:
        for process in victims:
            process.kill()

    killed_at = await kill_under_load(clients, kill)
    failures = [failure for client in clients for failure in client.failures]
    assert failures, "nobody noticed"
    recovered = max(failed_at for failed_at, _ in failures) - killed_at
    causes = dict(Counter(cause for _, cause in failures))
    print(f"\n{victim}: back after {recovered:.1f} s ({causes}); so far {dict(ledger.done)}")
    assert recovered < RECOVERY

    await audit(http, ledger, known)
