"""The stack that the end-to-end tests speak to, through its gateway only, an HTTP client for it, users and clients."""

import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

import registrations
from dev import testing
from people import Administrator, Person, signed_up


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as the first start leaves it: migrated, with the development clients and users."""
    data_dir = tmp_path_factory.mktemp("seeded") / "data"
    testing.start(data_dir).stop()
    shutil.rmtree(data_dir / "logs")
    return data_dir


@pytest.fixture(scope="session")
def new_data_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Call to get a copy of `seeded` for a stack of the test's own: the first start runs a dozen command lines."""

    def copy(name: str = "stack") -> Path:
        data_dir = tmp_path_factory.mktemp(name) / "data"
        # PostgreSQL's files belong to a user of its own where the tests run as root; `shutil` would not keep that.
        subprocess.run(["cp", "-a", request.getfixturevalue("seeded"), data_dir], check=True)
        return data_dir

    return copy


@pytest.fixture(scope="session")
def stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    """The stack at `PARLEY_URL` where that is set, which `PARLEY_COMPOSE` speaks to, else one of the tests' own."""
    url = os.environ.get("PARLEY_URL")
    if url:
        yield testing.Stack(url.rstrip("/"), compose=tuple(shlex.split(os.environ.get("PARLEY_COMPOSE", ""))))
        return
    with testing.running(new_data_dir()) as stack:
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
