"""Polling for a condition."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = 30.0
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool] = bool) -> T:
    """Poll until the value is the wanted one, and return it; fail after half a minute."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(seen := await look()):
        assert time.monotonic() < deadline, f"still {seen!r}"
        await asyncio.sleep(0.005)
    return seen
