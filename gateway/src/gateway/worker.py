"""`python -m gateway.worker`: one of several processes on the public port. It reports its status to its parent."""

import asyncio
import json
import os
import socket
import sys

import uvloop

from gateway.app import DataPath
from gateway.serving import allow_open_files, listen, signals
from gateway.settings import Settings
from servicekit import garbage
from servicekit.logs import configure_logs
from servicekit.settings import load_settings

REPORT_INTERVAL = 1.0


async def run(settings: Settings, channel: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    data_path = DataPath(settings, reuse_port=True)
    with signals(data_path.reload) as stop:
        garbage.pass_over_what_is_there()
        await listen(data_path, settings)
        reporting = asyncio.ensure_future(_report(data_path, reader, writer))
        try:
            await asyncio.wait([reporting, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            # A second signal changes nothing here: a signal to the process group reaches the worker and its parent, and
            # a parent that receives a second signal kills its workers.
            await data_path.drain()
        finally:
            reporting.cancel()
            await data_path.close()


async def _report(data_path: DataPath, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Report to the parent once a second, one line of JSON each time, until the parent closes the channel."""
    orphaned = asyncio.ensure_future(reader.read())
    while not orphaned.done():
        writer.write(json.dumps({"pid": os.getpid(), **data_path.status()}).encode() + b"\n")
        await asyncio.wait([orphaned], timeout=REPORT_INTERVAL)


def main() -> None:
    settings = load_settings(Settings)
    configure_logs("gateway", settings.log_level)
    allow_open_files()
    uvloop.run(run(settings, socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
