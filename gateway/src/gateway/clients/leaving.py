"""Ends of a client's connection that an event loop does not tell of, or does not make."""

import asyncio
import contextlib
import socket
import struct

# States of a connection (linux/tcp_states.h) in which nothing more will come from the other side.
_CLOSE, _CLOSE_WAIT = 7, 8


def reset(transport: asyncio.Transport) -> None:
    """End the connection so that its end cannot be taken for that of an answer without a length."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has left, where the connection is not read from. False where the kernel does not say."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO") or transport.is_closing():
        return False
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return False
    return state in (_CLOSE, _CLOSE_WAIT)
