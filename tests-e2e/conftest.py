"""The stack that the end-to-end tests speak to, through its gateway only, an HTTP client for it, users and clients."""

import os
import shlex
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

import registrations
from dev import testing
from people import Administrator, Person, signed_up


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Stack]:
    """The stack at `PARLEY_URL` where that is set, which `PARLEY_COMPOSE` speaks to, else one of the tests' own."""
    url = os.environ.get("PARLEY_URL")
    if url:
        yield testing.Stack(url.rstrip("/"), compose=tuple(shlex.split(os.environ.get("PARLEY_COMPOSE", ""))))
        return
    with testing.running(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


@pytest.fixture(scope="session")
async def client(stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """Sends what it is told to and no more: no cookies, relative URLs go to the gateway."""
    async with aiohttp.ClientSession(stack.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture(scope="session")
def registered(stack: testing.Stack) -> None:
    """The clients of `registrations` exist."""
    if not stack.has_command_line:
        pytest.skip("the stack under test runs elsewhere, so no client can be registered")
    registrations.register(stack)


@pytest.fixture(scope="session")
def administrator(client: aiohttp.ClientSession) -> Administrator:
    return Administrator(client)


@pytest.fixture
async def admin_token(administrator: Administrator) -> str:
    """An access token of the seeded administrator, who has logged in lately."""
    return await administrator.token()


@pytest.fixture
async def person(client: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[Person]:
    """A new user, gone after the test."""
    async with signed_up(client, administrator) as person:
        yield person
