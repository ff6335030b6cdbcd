"""The process's file descriptors, some of which are reserved for uses other than client connections."""

import asyncio
import errno
import os
import resource

import structlog

log = structlog.get_logger()

_LOOK = 1.0
_BETWEEN_LINES = 10.0


class Descriptors:
    """Reserves file descriptors, and logs when too few are left.

    `kept` descriptors, but at most half of the process's limit, are reserved for upstreams, the operations port and
    files. A new descriptor has the lowest free number, so a high number means that few are left.
    """

    def __init__(self, kept: int) -> None:
        self.deadline = 0.0
        self._kept = kept
        self._turned_away = 0
        self._next_line = 0.0

    def lack(self, newest: int) -> bool:
        """True if too few are left, so that the connection with the descriptor `newest` has to be refused."""
        limit = _limit()
        lacking = newest >= limit - min(self._kept, limit // 2)
        self._turned_away += lacking
        return lacking

    def expire(self) -> None:
        """Log that descriptors have run out, which uvloop does not report when it cannot accept a connection."""
        now = asyncio.get_running_loop().time()
        self.deadline = now + _LOOK
        if now >= self._next_line and (self._turned_away or _none_left()):
            self._next_line = now + _BETWEEN_LINES
            log.error("out of file descriptors", limit=_limit(), connections_refused=self._turned_away)
            self._turned_away = 0


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _none_left() -> bool:
    """True if no descriptor can be opened, because of the process's or the machine's limit."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
