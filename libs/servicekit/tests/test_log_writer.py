"""Log lines of a separate process: logging never waits for the reader, and no line is torn, reordered or lost."""

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time

import pytest

from servicekit.log_writer import LIMIT, STOP_TIMEOUT

PATIENCE = 20.0

# Logs `count` lines in each of several threads, by three means in turn, then obeys commands on standard input.
LOGGER = """
import atexit, json, logging, sys, threading
import structlog
from servicekit import logs

name, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

@atexit.register
def last():  # runs when the lines have been written
    logging.getLogger("library").warning("last")

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
    more, ending = line.split(":", 1)
    log(0, count, count := count + int(more))
    exec(ending)
"""


class Logger:
    """The process, which writes its counts of dropped lines to standard error."""

    def __init__(self, process):
        self._process = process
        self.pid = process.pid

    async def logs(self, count, then=""):
        """Have the process log this many more lines, then execute `then`; returns the number dropped before."""
        self._process.stdin.write(f"{count}:{then}\n".encode())
        return int(await self.says())

    async def says(self):
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stderr.readline()).decode().rstrip()

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
    """Call with a descriptor for output, a number of threads, and of lines in each, to start a process that logs."""
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
    """The two ends of a pipe; both are closed afterwards unless the test closed them."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


async def _read(end, output, at_once=65_536):
    """Append to `output` everything that is written until the last writer has gone."""

    def read():
        while data := os.read(end, at_once):
            output.extend(data)

    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(read)


async def _rest(end, at_once=65_536):
    """The lines that are written until the last writer has gone; every one must be whole."""
    output = bytearray()
    await _read(end, output, at_once)
    return _parsed(output)


def _parsed(output):
    assert output.endswith(b"\n")
    return [json.loads(line) for line in output.splitlines()]


def _numbers(lines, writer="trial 0"):
    return [line["number"] for line in lines if line.get("writer") == writer]


def _told(lines):
    """The number of lines reported as dropped; each report must be where the lines are missing, and exact."""
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
    assert [await logger.logs(0) for logger in loggers] == [0, 0]
    rest = asyncio.create_task(_rest(reading, at_once=1000))  # the pipe is full for almost as long as lines are written
    assert [await logger.end() for logger in loggers] == [0, 0]
    lines = await rest
    writers = [f"{name} {thread}" for name in ("one", "other") for thread in range(4)]
    assert [_numbers(lines, writer) for writer in writers] == [[*range(1500)]] * 8


async def test_dropped_lines_are_told_where_they_are_missing(start, pipe):
    reading, writing = pipe
    logger = await start(writing, 1, 50_000)
    os.close(writing)
    await logger.logs(0)
    dropped = await logger.logs(0)
    output = bytearray()
    rest = asyncio.create_task(_read(reading, output))
    async with asyncio.timeout(PATIENCE):
        while b"log lines dropped" not in output:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await logger.logs(100)
    assert await logger.end() == 0
    await rest
    lines = _parsed(output)
    [place] = [place for place, line in enumerate(lines) if line["event"] == "log lines dropped"]
    told = lines[place]
    assert (told["lines"], told["service"], told["level"]) == (dropped, "trial", "error")
    assert told["timestamp"].endswith("Z")
    assert _told(lines) == dropped
    assert lines[-2]["number"] == 50_099
    assert sum(len(json.dumps(line)) for line in lines[:place]) < 2 * LIMIT + 2**17


async def test_dropped_lines_are_told_at_a_stop(start, pipe):
    reading, writing = pipe
    logger = await start(writing, 1, 50_000)
    os.close(writing)
    await logger.logs(0, "atexit.unregister(last); atexit.register(lambda: print('ends', file=sys.stderr, flush=True))")
    dropped = await logger.logs(0)
    ended = asyncio.create_task(logger.end())
    assert await logger.says() == "ends"
    assert _told(await _rest(reading)) == dropped > 0
    assert await ended == 0


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


@pytest.fixture
def limited_file(tmp_path):
    """A file, a function that limits a process's file size, and one that lifts the limit: this needs no privilege."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    return (
        tmp_path / "log",
        lambda pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, (10_000, limits[1])),
        lambda pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, limits),
    )


@pytest.fixture
def full_disk(tmp_path):
    """A file on a small file system, a function that fills all of it but two pages, and one that frees the space."""
    try:
        subprocess.run(("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    filler = tmp_path / "filler"
    size = 2**20 - 2 * resource.getpagesize()
    yield tmp_path / "log", lambda _pid: filler.write_bytes(bytes(size)), lambda _pid: filler.unlink()
    subprocess.run(("umount", tmp_path), check=True)


@pytest.mark.parametrize("disk", ["limited_file", "full_disk"])
async def test_a_full_disk_tears_no_line(request, disk, start):
    path, fill, make_room = request.getfixturevalue(disk)
    with path.open("wb") as file:
        logger = await start(file, 1, 0)
    fill(logger.pid)
    await logger.logs(1000)
    async with asyncio.timeout(PATIENCE):
        while await logger.logs(0) + path.read_bytes().count(b"\n") < 999:  # and one line that is partly written
            pass
    assert not path.read_bytes().endswith(b"\n")
    make_room(logger.pid)
    async with asyncio.timeout(PATIENCE):
        while b"log lines dropped" not in path.read_bytes():  # noqa: ASYNC110
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
    full = os.open("/dev/full", os.O_WRONLY)
    logger = await start(full if output == "/dev/full" else writing, 2, 500)
    os.close(full)
    async with asyncio.timeout(PATIENCE):
        while await logger.logs(0) < 1000:
            pass
    assert await logger.logs(0) == 1000
    begun = time.monotonic()
    assert await logger.end() == 0
    assert time.monotonic() - begun < STOP_TIMEOUT
