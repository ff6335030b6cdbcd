"""Background work ends when it is cancelled, even if it swallowed the cancellation."""

import asyncio
import contextlib

import pytest

from servicekit.pauses import pause


async def test_a_cancellation_that_was_lost_ends_the_work_at_its_next_pause():
    begun, rounds = asyncio.Event(), 0

    async def work():
        nonlocal rounds
        while True:
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):  # as `asyncio.wait_for` does if its result has arrived
                await asyncio.sleep(3600)
            rounds += 1
            await pause(3600)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 1)
    assert rounds == 1


async def test_a_pause_takes_its_time():
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pause(3600), 0.05)
