"""Requests at fixed times, regardless of the fate of earlier ones (an open loop)."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any


async def arrivals(rate: float, seconds: float, act: Callable[[int, float], Coroutine[Any, Any, None]]) -> None:
    """Start `act(number, due)` `rate` times per second, and wait for all calls.

    `due` is when the call should have started, by `time.perf_counter`, so that the generator's delays count.
    """
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            group.create_task(act(number, due))


def milliseconds_since(moment: float) -> float:
    return (time.perf_counter() - moment) * 1000
