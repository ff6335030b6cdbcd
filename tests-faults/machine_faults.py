"""Machines with a wrong clock, without file descriptors or memory, and with a log that nobody reads."""

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import libfaketime
import psutil
import pytest

from fault import HELD, NOTHING, Fault, Inject
from hops import PORTS, address
from operations import until
from replicas import Stack

TO_NOTICE = 4.0
CONNECTIONS = 40
USED_UP_WITHIN = 3.0
SMALL_PIPE = 4096
_LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
READ = ("auth-service-1", "user-service-1", "gateway-1")


def clock(name: str, seconds: int) -> Inject:
    """A replica is replaced by one whose wall clock is wrong; its monotonic clock is right."""
    wrong = {
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME": f"{seconds:+d}s",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        stack.variables[name] = wrong
        try:
            await stack.replace(name, wait=False)  # it may not become ready
            yield
        finally:
            del stack.variables[name]
            await stack.replace(name)

    return inject


def without_descriptors(name: str) -> Inject:
    """Connections use up the process's file descriptors."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        process = psutil.Process(stack.replicas[name].process.pid)
        before = process.rlimit(resource.RLIMIT_NOFILE)
        process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + CONNECTIONS // 2, before[1]))
        writers = []
        try:
            for _ in range(CONNECTIONS):
                _, writer = await asyncio.open_connection(address(name), PORTS[name.rpartition("-")[0]])
                writers.append(writer)
            await _until_used_up(process)
            yield
        finally:
            for writer in writers:
                writer.close()
            process.rlimit(resource.RLIMIT_NOFILE, before)

    return inject


async def _until_used_up(process: psutil.Process) -> None:
    async def used_up() -> bool:
        return process.num_fds() >= process.rlimit(resource.RLIMIT_NOFILE)[0]

    await until(used_up, USED_UP_WITHIN)


def without_memory(name: str) -> Inject:
    """The process can allocate no more memory. If it ends because of that, it is restarted."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        process = psutil.Process(stack.replicas[name].process.pid)
        before = process.rlimit(resource.RLIMIT_AS)
        process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms // 2, before[1]))
        yield
        with contextlib.suppress(psutil.NoSuchProcess):
            process.rlimit(resource.RLIMIT_AS, before)
        await stack.recover()

    return inject


@contextlib.asynccontextmanager
async def with_clocks(_stack: Stack) -> AsyncIterator[None]:
    """Leave the stack as it is; skip the test if a process cannot be given its own clock."""
    if not _LIBRARY.exists():
        pytest.skip("needs libfaketime, which has no build for this machine")
    yield


@contextlib.asynccontextmanager
async def log_readers(stack: Stack) -> AsyncIterator[None]:
    """Have one replica of each service write its log to a pipe."""
    async with contextlib.AsyncExitStack() as pipes:
        for name in READ:
            stack.readers[name] = await pipes.enter_async_context(_reader(stack.data.root / f"{name}.pipe"))
            stack.pipes[name] = stack.data.root / f"{name}.pipe"
        await asyncio.gather(*(stack.replace(name) for name in READ))
        try:
            yield
        finally:
            stack.pipes.clear()
            stack.readers.clear()
            await asyncio.gather(*(stack.replace(name) for name in READ))


@contextlib.asynccontextmanager
async def _reader(pipe: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that reads from a small pipe."""
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
    reader = await asyncio.create_subprocess_exec("cat", pipe, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield reader
    finally:
        reader.kill()
        await reader.wait()
        os.close(end)
        os.unlink(pipe)


@contextlib.asynccontextmanager
async def log_readers_stopped(stack: Stack) -> AsyncIterator[None]:
    """Nobody reads the logs of three replicas, but their pipes stay open."""
    for reader in stack.readers.values():
        reader.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for reader in stack.readers.values():
            reader.send_signal(signal.SIGCONT)


def _clock_rows() -> list[Fault]:
    """A service that detects clock skew says so with 503, and no client loses its session."""
    return [
        Fault(
            f"{name}-clock-{word}",
            clock(name, seconds),
            6,
            (503,),
            over=3.0,
            longest=2.0,
            prepared=with_clocks,
        )
        for name in READ
        for word, seconds in (("ahead", 90), ("behind", -90), ("days-ahead", 3 * 86400))
    ]


FAULTS = [
    *_clock_rows(),
    *(
        Fault(
            f"{name}-without-{what}",
            inject(name),
            5,
            HELD,
            TO_NOTICE,
            longest=2.0,
            of_itself=True,
        )
        for name in READ
        for what, inject in (("descriptors", without_descriptors), ("memory", without_memory))
    ),
    Fault(
        "log-reader-stopped",
        log_readers_stopped,
        8,
        NOTHING,
        over=0.0,
        longest=2.0,
        prepared=log_readers,
    ),
]
