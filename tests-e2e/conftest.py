"""The stack that the end-to-end tests speak to, through its gateway only, and an HTTP client for it."""

import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from dev import testing


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Stack]:
    """The stack at `PARLEY_URL` where that is set, else one of the tests' own."""
    url = os.environ.get("PARLEY_URL")
    if url:
        yield testing.Stack(url.rstrip("/"))
        return
    stack = testing.start(tmp_path_factory.mktemp("stack") / "data")
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
async def client(stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """Sends what it is told to and no more: no cookies, relative URLs go to the gateway."""
    async with aiohttp.ClientSession(stack.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
