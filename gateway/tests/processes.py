"""Gateways in separate processes."""

import asyncio
import contextlib
import os
import socket
import sys
from dataclasses import dataclass


def free_ports():
    """A free public port and a free operations port."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


async def spawn(*arguments, stdout=asyncio.subprocess.PIPE, **variables):
    """Start a gateway with these environment variables. It has no drain delay unless they set one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", *arguments),
        env={**environment, "GATEWAY_DRAIN_DELAY": "0", **variables},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def failure_of(**variables):
    """The exit status and the lines on standard error of a gateway that cannot start."""
    process = await spawn(**variables)
    async with asyncio.timeout(10):
        _, errors = await process.communicate()
    return process.returncode, errors.decode().splitlines()


@dataclass
class Spawned:
    """A gateway process that is serving."""

    process: asyncio.subprocess.Process
    port: int
    ops_port: int

    @property
    def pid(self):
        return self.process.pid


@contextlib.asynccontextmanager
async def spawned(gateway, **variables):
    """A gateway process in front of the same upstreams as `gateway`."""
    port, ops_port = free_ports()
    urls = {f"GATEWAY_{name}_URL": f"http://127.0.0.1:{number}" for name, number in gateway.upstream_ports.items()}
    process = await spawn(GATEWAY_PORT=str(port), GATEWAY_OPS_PORT=str(ops_port), **urls, **variables)
    try:
        for _ in range(2):
            assert b'"listening"' in await asyncio.wait_for(process.stdout.readline(), 10)
        yield Spawned(process, port, ops_port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # waiting without reading would never end if there is much to read
