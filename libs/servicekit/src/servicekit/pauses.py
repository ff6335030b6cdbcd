"""Pauses between the rounds of background work that goes on until its task is cancelled."""

import asyncio


async def pause(seconds: float) -> None:
    """Sleep for so long. Raises CancelledError at once where the task was cancelled before.

    Until Python 3.12 `asyncio.wait_for`, which asyncpg uses, loses a cancellation that comes together with its result.
    The work would go on then, and a process that is told to stop would wait for it for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)
