"""Log lines of a process of its own: nobody who logs waits for the reader, and no line is torn, moved or lost."""

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import sys
import termios
import time

import pytest

from servicekit.log_writer import LIMIT, STOP_TIMEOUT

PATIENCE = 20.0

# Logs `count` lines in each of several threads, each line by another means, then does what it is told on standard input.
LOGGER = """
import atexit, json, logging, sys, threading
import structlog
from servicekit import logs

name, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
atexit.register(lambda: logging.getLogger("library").warning("last"))  # runs when the lines have been written
logs.configure_logs(name, "info")

def log(thread, first, last):
    for number in range(first, last):
        fact = {"writer": f"{name} {thread}", "number": number}
        if number % 3 == 0:
            structlog.get_logger().info("line", **fact)
        elif number % 3 == 1:
            logging.getLogger("library").warning("line", extra=fact)
        else:
            logs.write(json.dumps({"event": "line", **fact}).encode() + b"\\n")

started = [threading.Thread(target=log, args=(thread, 0, count)) for thread in range(threads)]
for thread in started: thread.start()
for thread in started: thread.join()
for line in sys.stdin:
    print(logs.dropped_lines(), file=sys.stderr, flush=True)
    more, ending = line.split(":")
    log(0, count, count := count + int(more))
    exec(ending)
"""


class Logger:
    """The process; what it says on standard error are its counts of dropped lines."""

    def __init__(self, process):
        self._process = process
        self.pid = process.pid

    async def logs(self, count, then=""):
        """Have so many more lines logged, then something done; returns how many were dropped before."""
        self._process.stdin.write(f"{count}:{then}\n".encode())
        async with asyncio.timeout(PATIENCE):
            return int(await self._process.stderr.readline())

    async def end(self):
        self._process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@pytest.fixture
async def start():
    """Call with a descriptor to write to, a number of threads and of lines in each, to start a process that logs."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(output, threads, count, name="trial"):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", LOGGER, name, str(threads), str(count)),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=asyncio.subprocess.PIPE,
            )
            logger = Logger(process)
            stack.push_async_callback(logger.kill)
            return logger

        yield start


@pytest.fixture
def pipe():
    """Its two ends; both are closed afterwards unless the test did."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


async def _waiting_in(end):
    """Wait until no more fits into a pipe that nobody reads; how many bytes are in it."""
    seen, since = -1, 0.0
    async with asyncio.timeout(PATIENCE):
        while seen <= 0 or time.monotonic() - since < 0.5:
            waiting = int.from_bytes(fcntl.ioctl(end, termios.FIONREAD, bytes(4)), sys.byteorder)
            if waiting != seen:
                seen, since = waiting, time.monotonic()
            await asyncio.sleep(0.01)
    return seen


async def _rest(end):
    """What is written until the last writer has gone, line by line; every one must be whole."""

    def read():
        with open(end, "rb", closefd=False) as stream:
            return stream.read()

    async with asyncio.timeout(PATIENCE):
        return _parsed(await asyncio.to_thread(read))


def _parsed(output):
    assert output.endswith(b"\n")
    return [json.loads(line) for line in output.splitlines()]


def _numbers(lines, writer="trial 0"):
    return [line["number"] for line in lines if line.get("writer") == writer]


def _told(lines):
    """How many lines are said to be missing; each gap is where it is told, and as wide."""
    told = following = 0
    for line in lines:
        if line["event"] == "log lines dropped":
            told += line["lines"]
            following += line["lines"]
        elif line["event"] == "line":
            assert line["number"] == following
            following += 1
    return told


@pytest.mark.parametrize("blocking", [True, False])
async def test_processes_and_threads_share_a_full_pipe(start, pipe, blocking):
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    loggers = [await start(writing, 4, 1500, name) for name in ("one", "other")]
    os.close(writing)
    assert await _waiting_in(reading) > 40_000
    rest = asyncio.create_task(_rest(reading))
    assert [await logger.end() for logger in loggers] == [0, 0]
    lines = await rest
    writers = [f"{name} {thread}" for name in ("one", "other") for thread in range(4)]
    assert [_numbers(lines, writer) for writer in writers] == [[*range(1500)]] * 8


async def test_dropped_lines_are_told_where_they_are_missing(start, pipe):
    reading, writing = pipe
    logger = await start(writing, 1, 50_000)
    os.close(writing)
    assert await logger.logs(0) > 10_000
    dropped = await logger.logs(0)
    rest = asyncio.create_task(_rest(reading))
    await asyncio.sleep(0.3)
    await logger.logs(100)
    assert await logger.end() == 0
    lines = await rest
    [place] = [place for place, line in enumerate(lines) if line["event"] == "log lines dropped"]
    told = lines[place]
    assert (told["lines"], told["service"], told["level"]) == (dropped, "trial", "error")
    assert told["timestamp"].endswith("Z")
    assert _told(lines) == dropped
    assert lines[-2]["number"] == 50_099
    assert sum(len(json.dumps(line)) for line in lines[:place]) < 2 * LIMIT + 2**17


async def test_a_stop_does_not_wait_for_a_reader(start, pipe):
    reading, writing = pipe
    logger = await start(writing, 1, 5000)
    os.close(writing)
    await logger.logs(0)
    begun = time.monotonic()
    assert await logger.end() == 0
    assert time.monotonic() - begun < STOP_TIMEOUT + 1
    assert _numbers(await _rest(reading))[:100] == [*range(100)]


@pytest.mark.parametrize(
    ("ending", "status"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("raise KeyboardInterrupt", -2)]
)
async def test_the_end_of_a_process_loses_nothing(start, pipe, ending, status):
    reading, writing = pipe
    logger = await start(writing, 1, 0)
    os.close(writing)
    rest = asyncio.create_task(_rest(reading))
    await logger.logs(5000, ending)
    assert await logger.end() == status
    lines = await rest
    assert _numbers(lines) == [*range(5000)]
    assert lines[-1]["event"] == "last"


async def test_a_full_disk_tears_no_line(start, tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        logger = await start(file, 1, 0)
    unlimited = resource.prlimit(logger.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(logger.pid, resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
    await logger.logs(1000)
    async with asyncio.timeout(PATIENCE):
        while await logger.logs(0) == 0:
            pass
    assert path.stat().st_size == 10_000
    resource.prlimit(logger.pid, resource.RLIMIT_FSIZE, unlimited)
    async with asyncio.timeout(PATIENCE):
        while b"log lines dropped" not in path.read_bytes():  # which needs no further line to be logged
            await asyncio.sleep(0.01)
    await logger.logs(100)
    assert await logger.end() == 0
    lines = _parsed(path.read_bytes())
    assert _told(lines) > 0
    assert lines[-2]["number"] == 1099


@pytest.mark.parametrize("output", ["/dev/full", "a pipe without a reader"])
async def test_what_cannot_be_written_is_counted(start, pipe, output):
    reading, writing = pipe
    os.close(reading)
    if output == "/dev/full":
        with open(output, "wb") as full:
            logger = await start(full, 2, 500)
    else:
        logger = await start(writing, 2, 500)
    async with asyncio.timeout(PATIENCE):
        while await logger.logs(0) < 1000:
            pass
    assert await logger.logs(0) == 1000
    begun = time.monotonic()
    assert await logger.end() == 0
    assert time.monotonic() - begun < STOP_TIMEOUT
