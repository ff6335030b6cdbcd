"""Every replica is replaced under steady load: no request fails, and no client is logged out."""

import asyncio
import gzip
import json

import aiohttp

from containers import SERVICES, run
from drivers import RFC6749
from steady_clients import done, failures, steady_clients


async def test_two_rolling_updates_with_one_gateway_fail_no_request(containers, scaled):
    scaled(auth_service=2)
    port = containers.ids("port")
    async with steady_clients(containers.url) as clients:
        print()
        for named in ((), ("gateway",)):  # the second update starts from the first one's result
            replaced_services = named or SERVICES
            before, passed = {service: set(containers.ids(service)) for service in replaced_services}, done(clients)
            print(await asyncio.to_thread(containers.script, "rolling-update.sh", *named), end="")
            print(f"meanwhile: {dict(done(clients) - passed)}")
            for service in replaced_services:
                after = set(containers.ids(service))
                assert len(after) == len(before[service])
                assert not after & before[service]
                for replaced in before[service]:
                    assert {"request", "stopping"} <= _kept_events(containers, service, replaced)
    assert failures(clients) == []
    assert min(done(clients)[kind] for kind in ("read", "refresh", "login")) >= 100
    assert containers.ids("port") == port


def _kept_events(containers, service, container):
    """The events in the kept log of a removed container."""
    (kept,) = containers.kept_logs.glob(f"{service}-*-{container[:12]}.log.gz")
    return {json.loads(line)["event"] for line in gzip.decompress(kept.read_bytes()).splitlines()}


async def test_a_new_replica_takes_traffic_and_a_stopped_one_loses_none(containers, scaled):
    scaled(auth_service=1, user_service=1, gateway=1)
    async with steady_clients(containers.url) as clients:
        for replicas in (3, 1):
            for service in SERVICES:  # one after the other: the starts of six processes would stop all others
                containers.variables[f"{service.upper().replace('-', '_')}_REPLICAS"] = str(replicas)
                up = ("up", "--detach", "--no-deps", "--no-recreate", "--wait", service)
                await asyncio.to_thread(containers.compose, *up)
            await asyncio.sleep(3)
            if replicas == 3:
                served = await asyncio.to_thread(_requests_served, containers)
    assert failures(clients) == []
    assert len(served) == 9, served
    assert min(served.values()) > 20, served


def _requests_served(containers):
    """The number of requests that each replica has logged, without health checks."""
    served = {}
    for service in SERVICES:
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
