"""Requests at fixed times, whatever becomes of those before them (an open loop)."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any


async def arrivals(rate: float, seconds: float, act: Callable[[int, float], Coroutine[Any, Any, None]]) -> None:
    """Start `act(number, due)` `rate` times a second, and wait for all of them.

    `due` is when the act should have started, by `time.perf_counter`: a generator that is late counts as waiting time.
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
