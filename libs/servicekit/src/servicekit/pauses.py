"""Pauses between the rounds of background work that continues until its task is cancelled."""

import asyncio


async def pause(seconds: float) -> None:
    """Sleep for this many seconds. Raises CancelledError at once if the task was cancelled before.

    Before Python 3.12, `asyncio.wait_for`, which asyncpg uses, loses a cancellation that arrives together with its
    result. The work would then continue, and a process that is told to stop would wait for it forever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)
