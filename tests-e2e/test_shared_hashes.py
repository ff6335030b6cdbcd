"""One account cannot take all the hashes: while it logs in continuously, everybody else still can log in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from dev import testing
from drivers import RFC6749
from exchange import post_json
from marks import needs_own_stack
from members import new_member

pytestmark = needs_own_stack

FLOOD, OTHERS = 240, 4


@pytest.fixture(scope="module")
def flooded_stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    """A stack in which a password waits no longer to be hashed than by default."""
    with testing.running(new_data_dir(), USERS_HASH_DEADLINE="2") as stack:
        yield stack


@pytest.fixture
async def client(flooded_stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(flooded_stack.url, connector=connector) as session:
        yield session


async def test_others_log_in_while_one_account_does_without_end(client: aiohttp.ClientSession) -> None:
    greedy, *others = [await new_member().sign_up(client) for _ in range(1 + OTHERS)]
    statuses: list[int] = []
    full = asyncio.Event()

    async def log_in_again_and_again() -> None:
        while True:
            statuses.append((await post_json(client, RFC6749.path, greedy.request(RFC6749))).status)
            if statuses[-1] == 503:
                full.set()

    flood = [asyncio.create_task(log_in_again_and_again()) for _ in range(FLOOD)]
    try:
        await asyncio.wait_for(full.wait(), 20)
        replies = [await post_json(client, RFC6749.path, other.request(RFC6749)) for other in others]
        assert [reply.status for reply in replies] == [200] * OTHERS
    finally:
        for task in flood:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*flood)
    assert 200 in statuses
