"""A load balancer before several gateways, as an operator would have one: it asks who is ready, and passes bytes on."""

import asyncio
import contextlib
import itertools
import json
import subprocess
import threading
from collections.abc import Iterator

from containers import PROJECT

LOOK_EVERY = 0.25
_FILTERS = ("label=com.docker.compose.service=gateway", f"label=com.docker.compose.project={PROJECT}")


class Front:
    """Listens on `port` of this machine. It reaches the gateways by their addresses on the network `edge`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ready: list[str] = []
        self._turn = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """In a thread of its own: tests block theirs."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), loop).result(30)
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def _start(self) -> None:
        await self._look()
        assert self._ready, "no gateway is ready"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._keep(asyncio.create_task(self._watch()))

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                await self._look()

    async def _look(self) -> None:
        addresses = await asyncio.to_thread(_addresses)
        ready = await asyncio.gather(*(_is_ready(address) for address in addresses))
        self._ready = [address for address, is_ready in zip(addresses, ready, strict=True) if is_ready]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        with contextlib.suppress(OSError), contextlib.closing(writer):
            upstream_reader, upstream_writer = await self._connect()
            with contextlib.closing(upstream_writer):
                ways = [
                    asyncio.create_task(_pass_on(reader, upstream_writer)),
                    asyncio.create_task(_pass_on(upstream_reader, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the next who is ready and takes it."""
        ready, turn = self._ready, next(self._turn)
        for offset in range(len(ready)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(ready[(turn + offset) % len(ready)], 8080)
        raise ConnectionRefusedError


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def _is_ready(address: str) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(address, 8090)
            with contextlib.closing(writer):
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _addresses() -> list[str]:
    """Of all gateways that run, on the network `edge`."""
    filters = [argument for text in _FILTERS for argument in ("--filter", text)]
    names = subprocess.check_output(["docker", "ps", "--quiet", *filters], text=True).split()
    if not names:
        return []
    found = json.loads(subprocess.check_output(["docker", "inspect", *names], stderr=subprocess.DEVNULL))
    return [
        network["IPAddress"]
        for container in found
        for name, network in container["NetworkSettings"]["Networks"].items()
        if name.endswith("_edge") and network["IPAddress"]
    ]
