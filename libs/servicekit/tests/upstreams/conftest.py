"""The stage for all tests of the upstream pool."""

import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from servicekit import deadlines

from .stage import LOOK, Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.close()


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make random choices repeatable, and periodic checks so frequent that tests need not wait for them."""
    random.seed(7)
    monkeypatch.setattr(deadlines, "INTERVAL", LOOK)


@pytest.fixture
def swallowing(stage: Stage) -> Iterator[Callable[[str], None]]:
    """Call with an address that from then on leaves every connection attempt pending."""
    sockets: list[socket.socket] = []

    def start(host: str) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, stage.port))
        listener.listen(0)
        sockets.append(listener)
        for _ in range(3):  # more than it takes to fill the queue
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex((host, stage.port))
            sockets.append(waiting)

    yield start
    for each in sockets:
        each.close()
