"""The file descriptors of this process, the last of which clients do not get."""

import asyncio
import errno
import os
import resource

import structlog

log = structlog.get_logger()

_LOOK = 1.0
_BETWEEN_LINES = 10.0


class Descriptors:
    """Keeps some file descriptors from clients, and logs when there are too few.

    `kept` of them, but at most half of the process's limit, are left for upstreams, the port for operations and files.
    The system gives a new descriptor the lowest free number, so a high number means that few are left.
    """

    def __init__(self, kept: int) -> None:
        self.deadline = 0.0
        self._kept = kept
        self._turned_away = 0
        self._next_line = 0.0

    def lack(self, newest: int) -> bool:
        """True if too few are left. The connection that has the descriptor `newest` is then turned away."""
        limit = _limit()
        lacking = newest >= limit - min(self._kept, limit // 2)
        self._turned_away += lacking
        return lacking

    def expire(self) -> None:
        """Log that they have run out: where uvloop cannot accept a connection for want of one, it says nothing."""
        now = asyncio.get_running_loop().time()
        self.deadline = now + _LOOK
        if now >= self._next_line and (self._turned_away or _none_left()):
            self._next_line = now + _BETWEEN_LINES
            log.error("no file descriptors left", limit=_limit(), connections_refused=self._turned_away)
            self._turned_away = 0


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _none_left() -> bool:
    """True if not even one can be opened, because of the process's limit or the machine's."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
