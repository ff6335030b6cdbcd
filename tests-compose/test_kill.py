"""`kill -9` of each container under load: acknowledged writes survive, and the stack recovers in time."""

import asyncio
from collections import Counter

import pytest

from containers import SERVICES, STORES
from killing import RECOVERY, audit, kill_under_load
from persevering import Ledger, PerseveringClient, persevering_session

CLIENTS = 4


@pytest.fixture(scope="module")
def ledger():
    """Everything acknowledged in all rounds so far."""
    return Ledger()


@pytest.fixture
async def http(containers, scaled):
    scaled()
    async with persevering_session(containers.url) as session:
        yield session


def _crash(containers, service):
    """Kill all processes in the container; its restart policy makes Docker start it again."""
    containers.execute(service, "sh", "-c", "kill -9 -1")


def _docker_kill(containers, service):
    """Kill through Docker, which then does not restart the container; the operator does, as with `make up`."""
    containers.compose("kill", "--signal", "KILL", service)
    containers.compose("up", "--detach", "--no-deps", "--no-recreate", service)


# Both ways end the processes alike, and restarts by Docker or `make up` do not depend on the service.
KILLS = [
    *((service, _crash) for service in (*SERVICES, *STORES)),
    ("gateway", _docker_kill),
    ("postgres", _docker_kill),
]


@pytest.mark.parametrize(("service", "kill"), KILLS, ids=[f"{service}{kill.__name__}" for service, kill in KILLS])
async def test_what_was_acknowledged_outlives_a_kill(containers, http, ledger, service, kill):
    known = {*ledger.passwords, *ledger.gone}
    started = {container["State"]["StartedAt"] for container in containers.inspect(service)}
    clients = [PerseveringClient(http, ledger) for _ in range(CLIENTS)]
    killed_at = await kill_under_load(clients, lambda: asyncio.to_thread(kill, containers, service))

    failures = [failure for client in clients for failure in client.failures]
    recovered = max((failed_at for failed_at, _ in failures), default=killed_at) - killed_at
    print(f"\n{service}: back after {recovered:.1f} s ({dict(Counter(cause for _, cause in failures))})")
    assert failures or service == "redis", "nobody noticed"
    assert recovered < RECOVERY
    assert started.isdisjoint(container["State"]["StartedAt"] for container in containers.inspect(service))
    await audit(http, ledger, known)
    await _until_healthy(containers)


async def _until_healthy(containers):
    async with asyncio.timeout(30):
        while True:
            states = [
                container["State"] for service in (*SERVICES, *STORES) for container in containers.inspect(service)
            ]
            if len(states) == 5 and all(state["Health"]["Status"] == "healthy" for state in states):
                return
            await asyncio.sleep(0.5)
