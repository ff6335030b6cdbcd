"""The end of a client's connection, where the event loop does not tell of it."""

import asyncio
import socket

# States of a connection (linux/tcp_states.h) in which nothing more will come from the other side.
_CLOSE, _CLOSE_WAIT = 7, 8


def has_left(transport: asyncio.Transport) -> bool:
    """True if the client has left, which may not have been read yet. False where the kernel does not say."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO") or transport.is_closing():
        return False
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return False
    return state in (_CLOSE, _CLOSE_WAIT)
