"""Migrated databases, a double of user-service, and auth-service in this process or in processes of its own."""

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import structlog
from pytest_aiohttp import AiohttpClient

from auth_service.app import create_app
from auth_service.backends import upkeep
from auth_service.settings import Settings
from servicekit.logs import configure_logs
from servicekit.testing import ServiceClient, ServiceServer
from servicekit.testing_relay import Relay, relaying

from .command_line import CommandLine, Ended, command_line
from .databases import MASTER_KEYS, PARTIES, PrivateDatabase, prepare
from .processes import Process, process
from .redis_server import RedisServer, redis_server
from .service import ISSUER, Party, Service
from .user_service_double import UserService

Start = Callable[..., Awaitable[Service]]


@pytest.fixture(scope="session", autouse=True)
def log() -> Iterator[io.StringIO]:
    """The log of auth-service in this process, configured as when the service runs by itself."""
    written = io.StringIO()
    handlers = list(logging.root.handlers)
    configure_logs("auth-service", "debug", written)
    structlog.configure(cache_logger_on_first_use=False)  # module loggers outlive this stream
    yield written
    structlog.reset_defaults()
    logging.root.handlers = handlers


@pytest.fixture(scope="session")
def template(create_database: Callable[..., str]) -> str:
    """The name of a template database: migrated, with signing keys and a client of each dialect."""
    url = create_database()
    asyncio.run(prepare(url))
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def shared_database_url(create_database: Callable[..., str], template: str) -> str:
    return create_database(template)


@pytest.fixture(scope="session")
def cut_off_database_url(create_database: Callable[..., str], template: str) -> str:
    return create_database(template)


@pytest.fixture(scope="session")
def private_database(create_database: Callable[..., str], template: str) -> PrivateDatabase:
    return PrivateDatabase(create_database(template))


@pytest.fixture
def database_url(private_database: PrivateDatabase) -> str:
    """A private database in the template's state. It is emptied and refilled, which is faster than a copy."""
    asyncio.run(private_database.restore())
    return private_database.url


@pytest.fixture(scope="session")
def master_keys() -> str:
    return MASTER_KEYS


@pytest.fixture(scope="session")
def parties() -> dict[str, Party]:
    """The client of each dialect that is registered in every database."""
    return PARTIES


@pytest.fixture(params=list(PARTIES))
def party(request: pytest.FixtureRequest) -> Party:
    """Each dialect's client in turn."""
    return PARTIES[request.param]


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


@pytest.fixture
async def users() -> AsyncIterator[UserService]:
    async with UserService().listening() as users:
        yield users


def settings(database_url: str, users: UserService) -> dict[str, str]:
    return {
        "database_url": database_url,
        "database_pool_size": "8",
        "master_keys": MASTER_KEYS,
        "issuer": ISSUER,
        "users_url": users.url,
        "throttle_exempt": "127.0.0.0/8",
        "throttle_login_alarm": "1000000",  # the refusals of one test must not raise an alarm in the next
    }


def served(database_url: str, users: UserService, **changed: Any) -> ServiceServer:
    return ServiceServer(create_app(Settings(**settings(database_url, users) | changed)))


@pytest.fixture
def aiohttp_client_cls() -> type[ServiceClient]:
    return ServiceClient


@pytest.fixture
def start(database_url: str, users: UserService, aiohttp_client: AiohttpClient) -> Start:
    """Call with settings to start auth-service over this test's database; call again for another replica."""

    async def start(**changed: Any) -> Service:
        url = changed.pop("database_url", database_url)
        server = served(url, users, **changed)
        client = await aiohttp_client(server)
        return Service(server.origin, url, MASTER_KEYS, users, client.session)

    return start


@pytest.fixture
def eager_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services started later in this process maintain their keys almost without pause."""
    for name in ("RELOAD_KEYS_EVERY", "ADVANCE_KEYS_EVERY"):
        monkeypatch.setattr(upkeep, name, 0.02)


@pytest.fixture
async def own_service(start: Start) -> Service:
    """auth-service with a private database, for tests that let time pass or examine the whole database."""
    return await start()


@pytest.fixture(scope="session")
async def shared_service(shared_database_url: str, http: aiohttp.ClientSession) -> AsyncIterator[Service]:
    async with UserService().listening() as users, served(shared_database_url, users) as server:
        yield Service(server.origin, shared_database_url, MASTER_KEYS, users, http)


@pytest.fixture
def service(shared_service: Service) -> Service:
    """auth-service with a database shared between tests; each test adds its own users."""
    shared_service.users.fault = shared_service.users.before_answer = None
    return shared_service


@pytest.fixture(scope="session")
async def shared_relay(cut_off_database_url: str) -> AsyncIterator[Relay]:
    async with relaying(cut_off_database_url) as relay:
        yield relay


@pytest.fixture(scope="session")
async def shared_cut_off_service(shared_relay: Relay, http: aiohttp.ClientSession) -> AsyncIterator[Service]:
    async with UserService().listening() as users, served(shared_relay.database_url, users) as server:
        yield Service(server.origin, shared_relay.database_url, MASTER_KEYS, users, http)


@pytest.fixture
async def relay(shared_relay: Relay) -> AsyncIterator[Relay]:
    """The relay between `cut_off_service` and its database, which tests can cut."""
    yield shared_relay
    await shared_relay.restore()


@pytest.fixture
async def relay_of_own(database_url: str) -> AsyncIterator[Relay]:
    """A relay to this test's private database; start the service with the relay's URL."""
    async with relaying(database_url) as relay:
        yield relay


@pytest.fixture
def cut_off_service(shared_cut_off_service: Service) -> Service:
    """auth-service connected to its database through `relay`."""
    return shared_cut_off_service


@pytest.fixture(params=["together", "alone"])
async def counting(
    request: pytest.FixtureRequest, start: Start, redis: RedisServer
) -> Callable[..., Awaitable[tuple[Service, int]]]:
    """Call with settings to start a service that counts in Redis, or in its own process with half the budgets."""

    async def counting(**changed: Any) -> tuple[Service, int]:
        shared = {"redis_url": redis.url} if request.param == "together" else {}
        return await start(throttle_exempt="", **shared, **changed), 1 if shared else 2

    return counting


@pytest.fixture
async def start_process(
    database_url: str, users: UserService, http: aiohttp.ClientSession
) -> AsyncIterator[Callable[..., Awaitable[tuple[Process, Service]]]]:
    """Call with settings to start auth-service as a process over this test's database."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**changed: str) -> tuple[Process, Service]:
            started = await stack.enter_async_context(process(settings(database_url, users) | changed))
            await started.answers(http)
            return started, Service(started.url, database_url, MASTER_KEYS, users, http)

        yield start


@pytest.fixture(scope="module")
async def shared_processes(shared_database_url: str, http: aiohttp.ClientSession) -> AsyncIterator[list[Process]]:
    """Two auth-service processes over one database, which a module's tests may suspend and resume."""
    async with contextlib.AsyncExitStack() as stack:
        users = await stack.enter_async_context(UserService().listening())
        chosen = settings(shared_database_url, users)
        started = [await stack.enter_async_context(process(chosen)) for _ in range(2)]
        await asyncio.gather(*(one.answers(http) for one in started))
        for one in started:
            one.service = Service(one.url, shared_database_url, MASTER_KEYS, users, http)
        yield started


@pytest.fixture(scope="session")
async def shared_replicas(shared_database_url: str, http: aiohttp.ClientSession) -> AsyncIterator[list[Service]]:
    async with contextlib.AsyncExitStack() as stack:
        users = await stack.enter_async_context(UserService().listening())
        # Any number of concurrent requests gets the same single successor; other tests cover the limit on retries.
        chosen = settings(shared_database_url, users) | {"refresh_retries": "200"}
        started = [await stack.enter_async_context(process(chosen)) for _ in range(2)]
        await asyncio.gather(*(one.answers(http) for one in started))
        yield [Service(one.url, shared_database_url, MASTER_KEYS, users, http) for one in started]


@pytest.fixture
def replicas(shared_replicas: list[Service]) -> list[Service]:
    """Two auth-service processes over one database that other tests use too."""
    shared_replicas[0].users.fault = shared_replicas[0].users.before_answer = None
    return shared_replicas


@pytest.fixture(scope="session")
async def redis() -> AsyncIterator[RedisServer]:
    """A Redis that tests share: each test that counts in it uses its own accounts and addresses."""
    async with redis_server() as redis:
        yield redis


@pytest.fixture
async def own_redis() -> AsyncIterator[RedisServer]:
    """A Redis that a test may break."""
    async with redis_server() as redis:
        yield redis


@pytest.fixture(scope="session")
async def shared_throttled(
    shared_database_url: str, redis: RedisServer, http: aiohttp.ClientSession
) -> AsyncIterator[list[Process]]:
    async with contextlib.AsyncExitStack() as stack:
        users = await stack.enter_async_context(UserService().listening())
        chosen = settings(shared_database_url, users) | {"throttle_exempt": "198.51.100.0/24", "redis_url": redis.url}
        started = [await stack.enter_async_context(process(chosen)) for _ in range(2)]
        await asyncio.gather(*(one.answers(http) for one in started))
        for one in started:
            one.service = Service(one.url, shared_database_url, MASTER_KEYS, users, http)
        yield started


@pytest.fixture
def throttled(shared_throttled: list[Process]) -> list[Service]:
    """Two auth-service processes that count in one Redis, with the default budgets."""
    shared_throttled[0].service.users.fault = shared_throttled[0].service.users.before_answer = None
    return [one.service for one in shared_throttled]


@pytest.fixture(scope="session")
async def shared_command_line() -> AsyncIterator[CommandLine]:
    async with command_line() as run:
        yield run


@pytest.fixture
def command(shared_command_line: CommandLine, own_service: Service) -> Callable[..., Awaitable[Ended]]:
    """Call with the arguments of `python -m auth_service`; the command uses the database of `own_service`."""
    chosen = {"database_url": own_service.database_url, "master_keys": MASTER_KEYS}

    async def run(*arguments: str, stdin: str = "", **changed: str) -> Ended:
        return await shared_command_line(*arguments, stdin=stdin, **(chosen | changed))

    return run
