"""Run in a separate network namespace: prints as JSON from which IPv6 addresses of a host a gateway serves requests."""

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import sys

from conftest import running
from wire import Connection, request_bytes, until

SERVER = "2001:db8:ffff::1"
_SIOCSIFFLAGS, _SIOCSIFADDR, _IFF_UP = 0x8914, 0x8916, 1


async def _have(*addresses: str) -> None:
    """Add these addresses to the loopback interface, and wait until they can be used."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))
        for address in addresses:
            packed = socket.inet_pton(socket.AF_INET6, address)
            fcntl.ioctl(control, _SIOCSIFADDR, packed + struct.pack("=Ii", 128, 1))
    for address in addresses:
        await until(lambda address=address: _usable(address))


def _usable(address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind((address, 0))
        return True
    return False


async def _statuses(addresses: list[str]) -> list[int]:
    """The answer to a request from each address, while the earlier connections stay open."""
    statuses = []
    await _have(SERVER, *addresses)
    async with running(host=SERVER, connections_per_address=2) as gateway, contextlib.AsyncExitStack() as stack:
        for address in addresses:
            connection = Connection(
                *await asyncio.open_connection(SERVER, gateway.port, local_addr=(address, 0), family=socket.AF_INET6)
            )
            stack.enter_context(contextlib.closing(connection))
            await connection.send(request_bytes("GET", "/oauth/token"))
            statuses.append((await connection.response()).status)
    return statuses


sys.stdout.write(json.dumps(asyncio.run(_statuses(sys.argv[1:]))) + "\n")
