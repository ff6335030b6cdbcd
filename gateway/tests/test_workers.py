"""Several worker processes on one public port: they serve, report, are replaced, and stop together."""

import asyncio
import contextlib
import json
import os
import signal
import time

import psutil
import pytest

from gateway import workers
from processes import failure_of, free_ports, spawn
from wire import Connection, request_bytes, until

ME = "/api/v1/users/me"


class Parent:
    """A gateway with two workers. `written` is its log, once it has stopped."""

    def __init__(self, gateway, **variables):
        self.port, self.ops_port = free_ports()
        self._variables = {
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_OPS_PORT": str(self.ops_port),
            "GATEWAY_WORKERS": "2",
            "GATEWAY_DRAIN_TIMEOUT": "3",
            **{f"GATEWAY_{name}_URL": f"http://127.0.0.1:{port}" for name, port in gateway.upstream_ports.items()},
            **variables,
        }

    async def start(self):
        self.process = await spawn(**self._variables)
        for _ in range(2):
            assert b'"listening"' in await asyncio.wait_for(self.process.stdout.readline(), 20)
        self._reading = asyncio.create_task(self.process.stdout.read())

    async def request(self, port, target):
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
        await connection.send(request_bytes("GET", target, ("Authorization", "Bearer good")))
        answer = await connection.response()
        connection.close()
        return answer

    async def stats(self):
        return json.loads((await self.request(self.ops_port, "/stats")).body)

    async def pids(self):
        return {worker["pid"] for worker in (await self.stats())["workers"]}

    async def ready(self):
        return (await self.request(self.ops_port, "/readyz")).status == 200

    async def stop(self):
        if self.process.returncode is None:
            workers = psutil.Process(self.process.pid).children()
            self.process.kill()
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()  # a suspended worker would not end by itself
        await self.process.wait()
        async with asyncio.timeout(10):  # until its workers, which write to the same pipe, have ended too
            self.written = (await self._reading).decode()


@pytest.fixture
async def parent(gateway):
    parent = Parent(gateway)
    await parent.start()
    yield parent
    await parent.stop()


async def _eventually(condition):
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_workers_share_the_port_and_are_counted_together(parent):
    async def counted():
        return (await parent.stats())["counters"]["requests"] == 60

    for _ in range(60):
        assert (await parent.request(parent.port, ME)).status == 200
    await _eventually(counted)
    workers = (await parent.stats())["workers"]
    assert len(workers) == 2
    assert all(worker["counters"]["requests"] > 0 for worker in workers)
    assert parent.process.pid not in {worker["pid"] for worker in workers}
    assert await parent.ready()


async def test_a_worker_that_dies_is_replaced(parent):
    before = await parent.pids()
    os.kill(min(before), signal.SIGKILL)

    async def replaced():
        return len(await parent.pids() - before) == 1 and await parent.ready()

    await _eventually(replaced)
    for _ in range(20):
        assert (await parent.request(parent.port, ME)).status == 200


async def test_a_worker_that_stands_still_is_replaced(parent):
    before = await parent.pids()
    started = time.monotonic()
    os.kill(min(before), signal.SIGSTOP)

    async def is_not_ready():
        return not await parent.ready()

    async def replaced():
        return await parent.ready() and len(await parent.pids() - before) == 1

    await _eventually(is_not_ready)
    assert time.monotonic() - started < 4.5
    await _eventually(replaced)
    assert min(before) not in await parent.pids()
    for _ in range(40):
        assert (await parent.request(parent.port, ME)).status == 200
    await parent.stop()
    lines = [json.loads(line) for line in parent.written.splitlines() if "worker" in json.loads(line)]
    assert [(line["event"], line["pid"]) for line in lines] == [("silent worker killed", min(before))]


async def test_a_parent_that_stood_still_kills_no_worker(parent):
    before = await parent.pids()
    parent.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(workers._SILENCE + 1)
    parent.process.send_signal(signal.SIGCONT)
    await _eventually(parent.ready)  # at first it answers 503 to all requests, as after every suspension
    for _ in range(10):
        assert await parent.ready()
        await asyncio.sleep(0.1)
    assert await parent.pids() == before
    await parent.stop()
    assert '"worker"' not in parent.written


async def test_a_worker_is_replaced_while_certificates_are_read_again(parent):
    before = await parent.pids()
    os.kill(min(before), signal.SIGKILL)
    async with asyncio.timeout(20):
        while len(await parent.pids() - before) != 1 or not await parent.ready():
            parent.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.01)
    await parent.stop()
    assert parent.written.count('"worker died"') == 1


async def test_all_stop_together(parent, gateway):
    turn = asyncio.Event()
    pids = await parent.pids()

    async def script(_message, _reader, writer):
        await turn.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    gateway.users.script = script
    requests = [asyncio.create_task(parent.request(parent.port, ME)) for _ in range(10)]
    await gateway.users.arrival(10)
    parent.process.send_signal(signal.SIGTERM)

    async def told():
        return not await parent.ready()

    await _eventually(told)
    turn.set()
    assert {(await request).body for request in requests} == {b"done"}
    assert await asyncio.wait_for(parent.process.wait(), 10) == 0
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_workers_do_not_outlive_their_parent(parent):
    pids = await parent.pids()
    parent.process.kill()
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_a_port_that_is_taken_is_named_in_one_line(gateway):
    taken = str(gateway.port)
    status, lines = await failure_of(GATEWAY_PORT=taken, GATEWAY_OPS_PORT="0", GATEWAY_WORKERS="2")
    assert (status, len(lines)) == (1, 1)
    assert taken in lines[0]
