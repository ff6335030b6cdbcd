"""Every replica is replaced under a steady load: no request fails, and no client is logged out."""

import asyncio
import contextlib
import gzip
import json
from collections import Counter

import aiohttp

from containers import SERVICES, run
from drivers import REFRESHING, RFC6749

CLIENTS = 6
PAUSE = 0.05
READS = 5
LIVES_BETWEEN_LOGINS = 4


class SteadyClient:
    """Logs in, refreshes and reads; whatever is not the expected answer is a failure."""

    def __init__(self, http, driver):
        self._http = http
        self._driver = driver
        self.done = Counter()
        self.failures = []

    async def live_until(self, stop):
        """The first session is kept to the end: whoever is logged out shows it."""
        kept = await self._driver.log_in(self._http)
        while not stop.is_set():
            kept = await self._round(kept)
            await self._step("login", self._driver.log_in(self._http))

    async def _round(self, tokens):
        for _ in range(LIVES_BETWEEN_LOGINS):
            for _ in range(READS):
                await self._step("read", self._read(tokens.access_token))
            tokens = await self._step("refresh", self._refresh(tokens.refresh_token)) or tokens
        return tokens

    async def _read(self, access_token):
        reply = await self._driver.me(self._http, access_token)
        assert reply.status == 200, reply

    async def _refresh(self, refresh_token):
        return self._driver.tokens(await self._driver.refresh(self._http, refresh_token))

    async def _step(self, name, request):
        await asyncio.sleep(PAUSE)
        try:
            result = await request
        except (AssertionError, aiohttp.ClientError, OSError) as error:
            self.failures.append((name, repr(error)[:300]))
            return None
        self.done[name] += 1
        return result


@contextlib.asynccontextmanager
async def steady_load(url):
    """Yields the clients, which live as long as the context."""
    stop = asyncio.Event()
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        clients = [SteadyClient(http, REFRESHING[number % len(REFRESHING)]) for number in range(CLIENTS)]
        async with asyncio.TaskGroup() as lives:
            for client in clients:
                lives.create_task(client.live_until(stop))
            await asyncio.sleep(2)
            yield clients
            await asyncio.sleep(2)
            stop.set()


def done(clients):
    return sum((client.done for client in clients), Counter())


async def test_a_rolling_update_fails_no_request(containers, scaled):
    scaled(auth_service=2, user_service=3, gateway=2)
    before = {service: set(containers.ids(service)) for service in SERVICES}
    async with steady_load(containers.url) as clients:
        print()
        for service in SERVICES:
            passed = done(clients)
            print(await asyncio.to_thread(containers.script, "rolling-update.sh", service), end="")
            print(f"{service}: {dict(done(clients) - passed)}")
            assert done(clients)["login"] > passed["login"], "there was no load"
    assert [failure for client in clients for failure in client.failures] == []
    for service in SERVICES:
        after = set(containers.ids(service))
        assert len(after) == len(before[service])
        assert not after & before[service]
        for replaced in before[service]:
            assert {"request", "stopping"} <= _kept_events(containers, service, replaced)


def _kept_events(containers, service, container):
    """The events in the log of a container that is gone."""
    (kept,) = containers.kept_logs.glob(f"{service}-*-{container[:12]}.log.gz")
    return {json.loads(line)["event"] for line in gzip.decompress(kept.read_bytes()).splitlines()}


async def test_a_new_replica_takes_traffic_and_a_stopped_one_loses_none(containers, scaled):
    scaled(auth_service=1, user_service=1, gateway=2)
    async with steady_load(containers.url) as clients:
        for replicas in (3, 1):
            for service in ("user-service", "auth-service"):
                name = f"{service.upper().replace('-', '_')}_REPLICAS"
                containers.variables[name] = str(replicas)
                await asyncio.to_thread(
                    containers.compose, "up", "--detach", "--no-deps", "--no-recreate", "--wait", service
                )
                await asyncio.sleep(4)
            if replicas == 3:
                served = await asyncio.to_thread(_requests_served, containers)
    assert [failure for client in clients for failure in client.failures] == []
    assert len(served) == 6, served
    assert min(served.values()) > 20, served


def _requests_served(containers):
    """How many requests each replica of the two services behind the gateway has logged, but for health checks."""
    served = {}
    for service in ("auth-service", "user-service"):
        for container in containers.ids(service):
            lines = run("docker", "logs", container).splitlines()
            served[container] = sum('"event": "request"' in line and "readyz" not in line for line in lines)
    return served


async def test_one_token_is_good_at_every_replica(containers, scaled):
    scaled(auth_service=2, user_service=3, gateway=2)
    async with aiohttp.ClientSession(containers.url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        for _ in range(10):
            tokens = await RFC6749.log_in(http)
            assert await RFC6749.accepts(http, tokens.access_token)
            again = RFC6749.tokens(await RFC6749.refresh(http, tokens.refresh_token))
            assert await RFC6749.accepts(http, again.access_token)
        containers.execute("auth-service", "python", "-m", "auth_service", "keys", "rotate", "--now")
        for _ in range(10):
            assert await RFC6749.accepts(http, again.access_token), "signed with the key that went"
            assert await RFC6749.accepts(http, (await RFC6749.log_in(http)).access_token)
