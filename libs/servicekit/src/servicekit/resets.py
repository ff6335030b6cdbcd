"""Ends a TCP connection at once, so that the kernel sends nothing more of what was written to it."""

import asyncio
import contextlib
import socket
import struct

_DISCARD_UNSENT = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """End the connection with a reset (RFC 9293 section 3.5.2), which also drops what the kernel still holds to send.

    An ordinary end would have the kernel deliver that first, once the network lets it: minutes later, perhaps.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_UNSENT)
    transport.abort()
