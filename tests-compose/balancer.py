"""A load balancer for gateways that do not share a port: it forwards the bytes of each connection."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def balancing(port: int, gateways: Sequence[int]) -> Iterator[None]:
    """Listen on `port` of this machine, and forward to those of the ports `gateways` that accept connections, in turn.

    It runs in a separate thread, because tests block theirs.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_start(port, gateways), loop).result(30)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _start(port: int, gateways: Sequence[int]) -> asyncio.Server:
    turns = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = next(turns) % len(gateways)
        with contextlib.closing(writer):
            for gateway in (*gateways[turn:], *gateways[:turn]):
                with contextlib.suppress(OSError):
                    await _pass_on_both(reader, writer, *await asyncio.open_connection("127.0.0.1", gateway))
                    return

    return await asyncio.start_server(serve, "127.0.0.1", port)


async def _pass_on_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    gateway_reader: asyncio.StreamReader,
    gateway_writer: asyncio.StreamWriter,
) -> None:
    """Forward in both directions until one side ends."""
    with contextlib.closing(gateway_writer):
        ways = [
            asyncio.create_task(_pass_on(reader, gateway_writer)),
            asyncio.create_task(_pass_on(gateway_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
