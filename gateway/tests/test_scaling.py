"""Replicas that are added, removed and hang under a steady load, and gateways that are restarted one by one."""

import asyncio
import contextlib
import itertools
import signal
import socket
from collections import Counter

import pytest

from gateway.app import DataPath
from gateway.settings import Settings
from processes import free_ports, spawn
from servicekit.upstreams import replicas as standing
from steady import REFRESHES, REQUESTS, Load, Replica, p99

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
async def replicas():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    started = [Replica(host, port) for host in HOSTS]
    await asyncio.gather(*(replica.start() for replica in started))
    yield started, port
    await asyncio.gather(*(replica.stop() for replica in started))


@contextlib.asynccontextmanager
async def _loaded(port, addresses, *, requests=REQUESTS, **settings):
    """A gateway under load, whose upstreams' name has these addresses, which may change."""

    async def resolve(_host, _port):
        return [(host, port) for host in addresses]

    url = f"http://upstream.test:{port}"
    chosen = Settings(port=0, auth_url=url, users_url=url, access_log=0, **settings)
    data_path = DataPath(chosen, resolve=resolve)
    await data_path.start()
    try:
        async with Load(lambda: data_path.port, rate=200, clients=10, requests=requests).running() as load:
            yield load
    finally:
        await data_path.close()


async def test_new_replicas_get_their_share(replicas):
    _, port = replicas
    addresses = list(HOSTS[:1])
    async with _loaded(port, addresses) as load:
        assert {outcome.answered_by for outcome in await load.passes(100)} == {HOSTS[0]}
        addresses.extend(HOSTS[1:])
        async with asyncio.timeout(10):
            while not _is_balanced(await load.passes(300)):
                pass
    assert load.failures == []


def _is_balanced(outcomes):
    shares = Counter(outcome.answered_by for outcome in outcomes)
    return all(abs(shares[host] / len(outcomes) - 1 / 3) <= 0.1 for host in HOSTS)


async def test_replicas_that_are_told_to_stop_lose_no_request(replicas):
    started, port = replicas
    addresses = list(HOSTS)
    async with _loaded(port, addresses) as load:
        await load.passes(100)
        for replica in started[1:]:
            replica.send(signal.SIGTERM)
            await replica.ended()
            addresses.remove(replica.host)  # as the name of a container is removed once it has ended
            await load.passes(100)
        assert {outcome.answered_by for outcome in await load.passes(100)} == {HOSTS[0]}
    assert load.failures == []


async def test_a_replica_that_hangs_is_left_out(replicas):
    started, port = replicas
    async with _loaded(port, HOSTS, verdict_lifetime=0) as load:
        usual = p99(await load.passes(400))
        started[1].send(signal.SIGSTOP)
        await load.lasts(3)
        later = await load.lasts(1)
    assert HOSTS[1] not in {outcome.answered_by for outcome in later}
    assert {outcome.status for outcome in later} == {200}
    assert p99(later) < max(10 * usual, 0.2), "nobody waits for the one that hangs"
    assert max(outcome.seconds for outcome in load.outcomes) < 2
    assert {(outcome.method, outcome.status) for outcome in load.failures} <= {("POST", 504)}


async def test_a_replica_that_answers_again_is_back_within_two_seconds(replicas):
    started, port = replicas
    async with _loaded(port, HOSTS[:2]) as load:
        await load.passes(100)
        started[1].send(signal.SIGSTOP)
        await load.lasts(4)
        assert HOSTS[1] not in {outcome.answered_by for outcome in await load.passes(50)}
        started[1].send(signal.SIGCONT)
        assert HOSTS[1] in {outcome.answered_by for outcome in await load.lasts(2)}


async def test_refreshes_survive_a_freeze_while_the_other_replica_comes_back(replicas, monkeypatch):
    """The remaining replica has just failed, so that it is ejected, on trial, or gets a small share."""
    monkeypatch.setattr(standing, "EJECTION", 2.0)
    started, port = replicas
    for pause in (0.0, 1.5, 3.0):
        async with _loaded(port, HOSTS[:2], requests=REFRESHES) as load:
            await load.passes(100)
            await started[0].stop()
            await load.passes(100)
            await started[0].start()
            await asyncio.sleep(pause)
            started[1].send(signal.SIGSTOP)
            frozen = await load.lasts(2.5)
            started[1].send(signal.SIGCONT)
            await load.lasts(0.5)
        assert load.failures == []
        assert max(outcome.seconds for outcome in load.outcomes) < 2
        assert HOSTS[0] in {outcome.answered_by for outcome in frozen}


class BalancedGateway:
    """A gateway that is one of two, with a load balancer's view of it."""

    def __init__(self, upstream_port):
        self.port, self._ops_port = free_ports()
        self.ready = False
        self._variables = {
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_OPS_PORT": str(self._ops_port),
            "GATEWAY_AUTH_URL": f"http://{HOSTS[0]}:{upstream_port}",
            "GATEWAY_USERS_URL": f"http://{HOSTS[0]}:{upstream_port}",
            "GATEWAY_DRAIN_DELAY": "1",
            "GATEWAY_ACCESS_LOG": "0",
        }

    async def start(self):
        self._process = await spawn(**self._variables)
        await self.turns_ready()

    async def restart(self):
        self._process.send_signal(signal.SIGTERM)
        assert await self._process.wait() == 0
        await self.start()

    async def turns_ready(self):
        async with asyncio.timeout(10):
            while not self.ready:
                await asyncio.sleep(0.05)
                await self.ask()

    async def watch(self):
        while True:
            await self.ask()
            await asyncio.sleep(0.1)

    async def ask(self):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ops_port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            self.ready = (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        except OSError:
            self.ready = False

    async def stop(self):
        self._process.kill()
        await self._process.wait()


async def test_a_gateway_is_restarted_beside_another_and_no_request_fails(replicas):
    _, port = replicas
    gateways = [BalancedGateway(port), BalancedGateway(port)]
    await asyncio.gather(*(gateway.start() for gateway in gateways))
    watching = [asyncio.create_task(gateway.watch()) for gateway in gateways]
    turn = itertools.count()
    try:
        async with Load(
            lambda: [gateway for gateway in gateways if gateway.ready][next(turn) % 2 - 1].port, rate=500, clients=25
        ).running() as load:
            await load.passes(200)
            for gateway in gateways:
                await gateway.restart()
                await load.passes(200)
        assert load.failures == []
        assert len(load.outcomes) > 1000
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*(gateway.stop() for gateway in gateways))
