"""The running stack that one fault after the other is brought upon, in a network of its own."""

from collections.abc import AsyncIterator

import pytest

import history
import namespaces
from name_server import running
from replicas import Stack


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--form", choices=("short", "whole"), default="whole", help="which faults to bring about")


@pytest.fixture(scope="session")
def private_network(tmp_path_factory: pytest.TempPathFactory) -> None:
    namespaces.enter(tmp_path_factory.mktemp("etc"))


@pytest.fixture(scope="session")
async def stack(private_network: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running(namespaces.NAME_SERVER) as names:
        stack = Stack(tmp_path_factory.mktemp("stack") / "data", names)
        try:
            await stack.start()
            async with stack.superuser("auth") as auth, stack.superuser("users") as users:
                await history.record(auth, users)
            yield stack
        finally:
            await stack.stop()
