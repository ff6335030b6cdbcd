"""Applications on free ports, and waiting for what must come about."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from servicekit.serving import Runner

PATIENCE = 30.0
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool] = bool) -> T:
    """Look until what is seen is what is wanted, and return it; fail when it is not in half a minute."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(seen := await look()):
        assert time.monotonic() < deadline, f"still {seen!r}"
        await asyncio.sleep(0.005)
    return seen


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The URL of an application that is served as the services are, on a free port."""
    runner = Runner(app)
    runner._shutdown_timeout = 0.1  # a double that still waits for something does not hold up the test run
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
