"""Gateways in processes of their own."""

import asyncio
import os
import socket
import sys


def free_ports():
    """One for the public, one for operations."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


async def spawn(*, stdout=asyncio.subprocess.PIPE, **variables):
    """A gateway with these variables of its own, which does not wait before it stops unless it is told to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway"),
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
