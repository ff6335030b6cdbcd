"""The stack that the end-to-end tests reach through its gateway only, an HTTP client for it, users and clients."""

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
    """A data directory in its state after the first start: migrated, with the development clients and users."""
    data_dir = tmp_path_factory.mktemp("seeded") / "data"
    testing.start(data_dir).stop()
    shutil.rmtree(data_dir / "logs")
    return data_dir


@pytest.fixture(scope="session")
def new_data_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Call to get a copy of `seeded` for a private stack, because a first start runs a dozen command lines."""

    def copy(name: str = "stack") -> Path:
        data_dir = tmp_path_factory.mktemp(name) / "data"
        # If the tests run as root, PostgreSQL's files belong to a separate user; `shutil` would not preserve that.
        subprocess.run(["cp", "-a", request.getfixturevalue("seeded"), data_dir], check=True)
        return data_dir

    return copy


@pytest.fixture(scope="session")
def stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    """The stack at `PARLEY_URL` if that is set (`PARLEY_COMPOSE` is its compose command), or else one started here."""
    url = os.environ.get("PARLEY_URL")
    if url:
        yield testing.Stack(url.rstrip("/"), compose=tuple(shlex.split(os.environ.get("PARLEY_COMPOSE", ""))))
        return
    with testing.running(new_data_dir()) as stack:
        yield stack


@pytest.fixture(scope="session")
async def client(stack: testing.Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that adds nothing to requests, such as cookies; relative URLs go to the gateway."""
    async with aiohttp.ClientSession(stack.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture(scope="session")
def registered(stack: testing.Stack) -> None:
    """Register the clients of `registrations`."""
    if not stack.has_command_line:
        pytest.skip("the stack under test runs elsewhere, so no client can be registered")
    registrations.register(stack)


@pytest.fixture(scope="session")
def administrator(client: aiohttp.ClientSession) -> Administrator:
    return Administrator(client)


@pytest.fixture
async def admin_token(administrator: Administrator) -> str:
    """An access token of the seeded administrator, who has logged in recently."""
    return await administrator.token()


@pytest.fixture
async def person(client: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[Person]:
    """A new user, deleted after the test."""
    async with signed_up(client, administrator) as person:
        yield person
