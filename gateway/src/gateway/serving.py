"""Serves until SIGINT or SIGTERM, in this process or in several workers."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from gateway import ops
from gateway.app import DataPath
from gateway.settings import Settings
from gateway.workers import Workers
from servicekit import garbage

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Serve the public port and the operations port until SIGINT or SIGTERM; a second signal ends it at once.

    Exits with status 1 and one line if an address cannot be listened on.
    """
    if settings.workers > 1:
        await _serve_with(Workers(settings), settings)
    else:
        await _serve_with(InProcess(settings), settings)


async def _serve_with(serving: "InProcess | Workers", settings: Settings) -> None:
    with signals(serving.reload) as stop:
        garbage.pass_over_what_is_there()
        await serving.start()
        try:
            log.info("listening", host=settings.host, port=serving.port)
            async with ops.listening(serving, settings):
                await stop.wait()
                log.info("stopping")
                stop.clear()
                await first(serving.drain(), stop.wait())
        finally:
            await serving.close()


class InProcess:
    """The data path in the process that also serves the operations port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data_path = DataPath(settings)
        self._draining = False

    @property
    def ready(self) -> bool:
        return not self._draining

    @property
    def port(self) -> int:
        return self._data_path.port

    def statuses(self) -> list[dict[str, Any]]:
        return [{"pid": os.getpid(), **self._data_path.status()}]

    async def start(self) -> None:
        await listen(self._data_path, self._settings)

    def reload(self) -> None:
        self._data_path.reload()

    async def drain(self) -> None:
        self._draining = True
        await self._data_path.drain()

    async def close(self) -> None:
        await self._data_path.close()


def allow_open_files() -> None:
    """Let this process open as many files as it may: every connection is one, on either side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def listen(data_path: DataPath, settings: Settings) -> None:
    """Start it; leaves the process with status 1 and one line where there is no listening socket to be had."""
    try:
        await data_path.start()
    except OSError as error:
        await data_path.close()
        if settings.listener is not None:
            raise SystemExit(f"no listening socket from {settings.listener}: {error.strerror or error}") from None
        raise SystemExit(ops.cannot_listen(settings.host, settings.port, error)) from None


@contextlib.contextmanager
def signals(on_hangup: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; SIGHUP calls `on_hangup`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    yield stop


async def first(*awaitables: Any) -> None:
    """Wait for the first to end, and give up the others."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
