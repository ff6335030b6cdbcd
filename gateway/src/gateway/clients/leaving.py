"""Detection of clients that have disconnected, for connections of which the event loop is not reading."""

import asyncio
import socket

# TCP states (linux/tcp_states.h) in which the peer sends nothing more.
_CLOSE, _CLOSE_WAIT = 7, 8


def has_left(transport: asyncio.Transport) -> bool:
    """True if the client has disconnected, even if that was not read yet. False if the kernel cannot tell."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO") or transport.is_closing():
        return False
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return False
    return state in (_CLOSE, _CLOSE_WAIT)
