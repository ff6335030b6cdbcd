"""The access log, one JSON line per request. The line is formatted by hand, which is cheap and sufficient."""

import random
import time
from collections.abc import Callable

from gateway import routes
from gateway.messages.trace_context import Identity
from servicekit import logs

_BUFFERED = 64 * 1024
_METHODS = frozenset(method.encode() for method in routes.ORDINARY_METHODS)


class AccessLog:
    """Logs a fraction `rate` of the requests and every server error; nothing if `rate` is 0.

    Lines are buffered until the next check of the deadlines, so that many are written at once.
    """

    deadline = 0.0

    def __init__(self, rate: float, write: Callable[[bytes], object] = logs.write) -> None:
        self._rate = rate
        self._write = write
        self._lines: list[bytes] = []
        self._size = 0

    def request(self, method: bytes, route: bytes, status: int, started: float, now: float, identity: Identity) -> None:
        """`route` is the template, never the path. Times are in seconds."""
        if not self._rate or (self._rate < 1 and status < 500 and random.random() >= self._rate):  # noqa: S311
            return
        seconds = time.time()
        trace = b', "trace_id": "%b"' % identity.trace_id if identity.trace_id else b""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
        line = (
            b'{"method": "%b", "route": "%b", "status": %d, "duration_ms": %.2f, "event": "request"'
            b', "request_id": "%b"%b, "service": "gateway", "level": "info", "timestamp": "%b.%06dZ"}\n'
        ) % (
            method if method in _METHODS else b"-",
            route,
            status,
            (now - started) * 1000,
            identity.request_id,
            trace,
            stamp,
            int(seconds % 1 * 1_000_000),
        )
        self._lines.append(line)
        self._size += len(line)
        if self._size > _BUFFERED:
            self.flush()

    def expire(self) -> None:
        self.flush()

    def flush(self) -> None:
        if self._lines:
            self._write(b"".join(self._lines))
            self._lines.clear()
            self._size = 0
