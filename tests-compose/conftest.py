"""The stack in containers: built, and started with secrets made for it and the clients and users of `make run`."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containers import REPOSITORY, Containers
from seeding import seed_containers


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of secrets made by the script behind `make secrets`."""
    directory = tmp_path_factory.mktemp("compose") / "secrets"
    subprocess.run([REPOSITORY / "deploy" / "make-secrets.sh", directory], check=True)
    return directory


@pytest.fixture(scope="session")
def containers(secrets: Path) -> Iterator[Containers]:
    """The stack with one replica of each service. With `KEEP_CONTAINERS`, it remains when the tests end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        containers = Containers(probe.getsockname()[1], secrets)
    containers.compose("down", "--volumes", "--remove-orphans")
    try:
        containers.compose("build")
        containers.up()
        seed_containers(containers)
        yield containers
    finally:
        if not os.environ.get("KEEP_CONTAINERS"):
            containers.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
def scaled(containers: Containers) -> Callable[..., None]:
    """Call with the number of replicas of each service."""
    return containers.up
