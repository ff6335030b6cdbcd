"""A gateway keeps serving if nothing reads its log, or if there is no room for it."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import time

import psutil
import pytest

from processes import free_ports, spawn
from servicekit.log_writer import STOP_TIMEOUT
from wire import Connection, request_bytes, until

TOKEN = "/oauth/token"
# More lines than the pipe and the buffers hold together.
FLOOD = 16_000
IDENTIFIED = ("X-Request-Id", "a" * 64)
AT_ONCE = 100
MEBIBYTE = 2**20


class Process:
    """A gateway process, and the number of requests it has answered."""

    def __init__(self, process, port, ops_port):
        self.process = process
        self._port = port
        self._ops_port = ops_port
        self.answered = 0

    async def request(self, target, *headers, ops=False):
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self._ops_port if ops else self._port))
        with contextlib.closing(connection):
            await connection.send(request_bytes("GET" if ops else "POST", target, *headers))
            answer = await connection.response()
        self.answered += 1
        return answer

    async def flood(self, requests):
        """Send this many requests that are refused with 404, each of which is logged."""
        for _ in range(requests // 4000):
            connection = Connection(*await asyncio.open_connection("127.0.0.1", self._port))
            with contextlib.closing(connection):
                for _ in range(4000 // AT_ONCE):
                    await connection.send(request_bytes("GET", "/nowhere", IDENTIFIED) * AT_ONCE)
                    assert {(await connection.response()).status for _ in range(AT_ONCE)} == {404}
        self.answered += requests

    async def dropped(self):
        [worker] = (await self.request("/stats", ops=True)).json()["workers"]
        return worker["log_lines_dropped"]

    async def serves(self):
        """True if it answers as usual on both ports."""
        statuses = [(await self.request(path, ops=True)).status for path in ("/healthz", "/readyz")]
        return [*statuses, *[(await self.request(TOKEN)).status for _ in range(20)]] == [200] * 22

    async def stop(self):
        """Stop it with SIGTERM. Returns the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await self.process.wait() == 0
        return time.monotonic() - begun


@pytest.fixture
async def start(gateway):
    """Call with its standard output and variables to start a gateway in front of `gateway`'s upstreams."""
    started = []

    async def start(output, **variables):
        port, ops_port = free_ports()
        urls = {f"GATEWAY_{name}_URL": f"http://127.0.0.1:{number}" for name, number in gateway.upstream_ports.items()}
        chosen = {"GATEWAY_PORT": str(port), "GATEWAY_OPS_PORT": str(ops_port), **urls, **variables}
        process = Process(await spawn(stdout=output, **chosen), port, ops_port)
        started.append(process.process)
        async with asyncio.timeout(20):
            while not await _is_ready(process):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _is_ready(process):
    try:
        return (await process.request("/readyz", ops=True)).status == 200
    except OSError:
        return False


class Reader:
    """Reads the lines of a pipe once it is started; each must be complete."""

    def __init__(self):
        self._end, self.writing = os.pipe()
        self.output = b""

    def start(self):
        """Start reading. Only the writing process may have the write end open."""
        return asyncio.create_task(asyncio.to_thread(self._read))

    def _read(self):
        while data := os.read(self._end, 65536):
            self.output += data


@pytest.fixture
def reader():
    return Reader()


def _lines(output, event):
    return [line for line in map(json.loads, output.splitlines()) if line["event"] == event]


async def test_it_serves_though_nobody_reads_its_log(start, reader):
    process = await start(reader.writing)
    os.close(reader.writing)
    used = psutil.Process(process.process.pid).memory_info
    await process.flood(8000)
    before = used().rss
    await process.flood(FLOOD)
    assert await process.serves()
    dropped = await process.dropped()
    assert dropped > 1000
    assert used().rss - before < 16 * MEBIBYTE
    reading = reader.start()
    await until(lambda: b"log lines dropped" in reader.output)
    assert (await process.request(TOKEN, ("X-Request-Id", "read-again"))).status == 200
    await process.stop()
    await reading
    [told] = _lines(reader.output, "log lines dropped")
    assert told["lines"] >= dropped
    requests = _lines(reader.output, "request")
    assert len(requests) + told["lines"] == process.answered
    assert requests[-1]["request_id"] == "read-again"
    assert _lines(reader.output, "stopping")


async def test_a_stop_does_not_wait_for_a_reader(start, reader):
    process = await start(reader.writing)
    os.close(reader.writing)
    await process.flood(8000)
    assert await process.stop() < STOP_TIMEOUT + 2


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_loses_no_line(start, reader, workers):
    process = await start(reader.writing, GATEWAY_WORKERS=workers)
    os.close(reader.writing)
    reading = reader.start()
    await process.flood(4000)
    for _ in range(20):
        assert (await process.request(TOKEN)).status == 200
    await process.stop()
    await reading
    assert len(_lines(reader.output, "request")) == process.answered
    assert _lines(reader.output, "stopping")


async def test_it_serves_though_there_is_no_room_for_its_log(start):
    full = os.open("/dev/full", os.O_WRONLY)
    process = await start(full)
    os.close(full)
    assert await process.serves()
    await process.flood(8000)
    assert await process.serves()
    async with asyncio.timeout(10):
        while await process.dropped() < 8000:
            pass
    assert await process.stop() < STOP_TIMEOUT


async def test_its_log_goes_on_when_there_is_room_again(start, tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        process = await start(file)
    pid = process.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    await process.flood(8000)
    assert await process.serves()
    assert path.stat().st_size == 100_000
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    await until(lambda: b"log lines dropped" in path.read_bytes())
    assert (await process.request(TOKEN, ("X-Request-Id", "room-again"))).status == 200
    await process.stop()
    output = path.read_bytes()
    told = sum(line["lines"] for line in _lines(output, "log lines dropped"))
    requests = _lines(output, "request")
    assert told > 0
    assert len(requests) + told == process.answered
    assert requests[-1]["request_id"] == "room-again"
