"""Applications on free ports, and waiting for what must come about."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from servicekit.http import Runner

PATIENCE = 30.0


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, and fail when it does not in half a minute."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


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
