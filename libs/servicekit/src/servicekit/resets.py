"""Ends a TCP connection at once, so that the kernel sends no more of the data written to it."""

import asyncio
import contextlib
import socket
import struct

_DISCARD_UNSENT = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """End the connection with a reset (RFC 9293 section 3.5.2), which also discards data that the kernel has not sent.

    On an ordinary close, the kernel would deliver that data first, once the network allows: perhaps minutes later.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_UNSENT)
    transport.abort()
