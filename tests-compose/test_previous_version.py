"""The previous version and this one side by side, as during an update: answers do not depend on the replica's version.

The stack is started as the previous version starts it: with its compose.yaml and images, and with clients and users
added by its commands. Then come the first steps of `make deploy`: the migrations of this version, and one replica of it
next to each of the previous one.
"""

import asyncio
import io
import shlex
import socket
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from balancer import balancing
from containers import REPOSITORY, SERVICES, STORES, Containers, run
from seeding import seed_containers
from steady_clients import done, failures, steady_clients

# The last release. There is none yet: this is the last revision before keys got purposes.
PREVIOUS = "433e59ce4354301cef7a2f50f922d0ca2f195769"
PROJECT = "parley-mixed"

# Tests that involve both services or state shared by replicas; the other files test how requests are read.
END_TO_END = ("test_rfc6749.py", "test_endings.py")
# Tests that are skipped, each with the reason: the versions differ on purpose, or mixing them cannot matter.
LEFT_OUT = {
    "test_endings.py::test_of_a_hundred_sign_ups_of_one_identity_one_is_accepted": "the database decides; 300 hashes",
}


@pytest.fixture(scope="module")
def mixed(secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Two replicas of each service, one of either version, behind the port of the yielded stack."""
    tree = _previous_tree(tmp_path_factory.mktemp("previous"))
    port, *gateways = _free_ports(3)
    previous = Containers(port, secrets, project=PROJECT, tree=tree, version=PREVIOUS[:12])
    current = Containers(port, secrets, project=PROJECT)
    for containers, gateway in zip((previous, current), gateways, strict=True):
        containers.variables["GATEWAY_PORT"] = str(gateway)
    previous.compose("down", "--volumes", "--remove-orphans")
    try:
        previous.compose("up", "--detach", "--build", "--wait")
        seed_containers(previous)
        _add_replicas(current)
        with balancing(port, gateways):
            yield current
    finally:
        current.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")


def _previous_tree(directory: Path) -> Path:
    done = subprocess.run(["git", "archive", PREVIOUS], cwd=REPOSITORY, capture_output=True)
    if done.returncode:
        pytest.skip(f"revision {PREVIOUS} of the previous version is not in this clone")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def _add_replicas(current: Containers) -> None:
    """Add replicas as `make deploy` does, without removing the old ones."""
    current.compose("build")
    for migrations in ("auth-migrate", "users-migrate"):
        current.compose("run", "--rm", "--no-deps", migrations)
    names = set(current.compose("config", "--services").split()) - {*STORES, "auth-migrate", "users-migrate"}
    replicas = [f"--scale={service}=2" for service in SERVICES]
    current.compose("up", "--detach", "--no-deps", "--no-recreate", "--wait", *replicas, *sorted(names))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


def test_one_replica_of_each_service_is_of_the_previous_version(mixed):
    for service in SERVICES:
        images = sorted(container["Config"]["Image"] for container in mixed.inspect(service))
        assert images == sorted(f"parley-{service}:{version}" for version in (PREVIOUS[:12], "tests"))


async def test_no_request_fails_and_no_client_is_logged_out_while_keys_are_rotated(mixed):
    rotate = ("python", "-m", "auth_service", "keys", "rotate", "--now")
    async with steady_clients(mixed.url) as clients:
        rotated = await asyncio.to_thread(mixed.execute, "auth-service", *rotate)
    assert rotated.returncode == 0, rotated.stderr
    assert failures(clients) == []
    print(f"\n{dict(done(clients))}")
    for service in SERVICES:
        for container in mixed.ids(service):
            statuses = _statuses(container)
            assert statuses["200"] > 20, (service, container, statuses)
            assert not any("400" <= status < "500" for status in statuses), (service, container, statuses)


def test_clients_see_no_difference(mixed, capfd):
    files = [f"tests-e2e/{name}" for name in END_TO_END]
    exceptions = [f"--deselect=tests-e2e/{name}" for name in LEFT_OUT]
    variables = {"PARLEY_URL": mixed.url, "PARLEY_COMPOSE": shlex.join(mixed.command)}
    with capfd.disabled():
        print(f"\ntests-e2e against {PREVIOUS[:12]} and this version, mixed", flush=True)
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", *exceptions, *files],
            cwd=REPOSITORY,
            env={**mixed.environment, **variables},
        )
    assert ran.returncode == 0


def _statuses(container):
    """The number of requests answered with each status, according to the container's log, without health checks."""
    lines = [line for line in run("docker", "logs", container).splitlines() if '"event": "request"' in line]
    return Counter(line.partition('"status": ')[2][:3] for line in lines if "readyz" not in line)
