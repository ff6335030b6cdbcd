"""Calls to another service: one request, and its whole answer from whichever of the replicas gives it."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from servicekit import callers
from servicekit.callers import Caller
from servicekit.deadlines import Deadlines
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import STALLED, UpstreamConnection
from servicekit.upstreams.pool import Upstream
from servicekit.upstreams.resolver import Resolve, ask_system

CONNECTIONS = 256
CONNECT_TIMEOUT = 1.0
DNS_INTERVAL = 1.0
STALL_TIMEOUT = 0.5
ANSWER_LIMIT = 1024 * 1024


class CallFailedError(Exception):
    """No whole answer has come. The request may have been executed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The names in `headers` are in lower case; of a header that is given twice the last value counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Service:
    """Another service, whose replicas may execute each request twice: what one of them loses is sent to a second one.

    Calls are added to the path of the base URL.
    """

    def __init__(self, upstream: Upstream, deadlines: Deadlines, base_path: str) -> None:
        self._upstream = upstream
        self._deadlines = deadlines
        self._base_path = base_path

    async def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float,
        silence: float = math.inf,
        on_heard: Callable[[], None] | None = None,
        caller: Caller | None = None,
    ) -> Answer:
        """The answer, if it comes within `timeout` seconds, and before the caller of the request being served leaves.

        The service is told how long it is waited for. A replica from which nothing comes for `silence` seconds is left
        for another one, also where this process itself stood still: what it finds then is an old answer. `on_heard` is
        called whenever a part of an answer with status 200 comes. Raises CallFailedError.
        """
        caller = caller or callers.current()
        loop = asyncio.get_running_loop()
        end = loop.time() + min(timeout, caller.remaining())
        if end <= loop.time() or caller.gone:
            raise CallFailedError("the caller waits no longer")
        lines = [f"{method} {self._base_path}{path} HTTP/1.1", f"host: {self._upstream.host.decode()}"]
        lines.extend(f"{name}: {value}" for name, value in headers.items())
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        call = _Call(self._upstream, lines, body or b"", end, silence, on_heard)
        self._deadlines.add(call)
        try:
            async with caller.waiting(end):
                call.start()
                return await call.answer
        except TimeoutError:
            raise CallFailedError("the caller has left" if caller.gone else "no answer came in time") from None
        finally:
            self._deadlines.discard(call)
            call.drop()


class _Call:
    """A call on its way. `end`, in `loop.time()`, is until when the answer is waited for."""

    def __init__(
        self,
        upstream: Upstream,
        lines: list[str],
        body: bytes,
        end: float,
        silence: float,
        on_heard: Callable[[], None] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Answer] = self._loop.create_future()
        self.deadline = math.inf
        self._upstream = upstream
        self._lines = lines
        self._body = body
        self._end = end
        self._silence = silence
        self._on_heard = on_heard
        self._connection: UpstreamConnection | None = None
        self._head: ResponseHead | None = None
        self._received = bytearray()
        self._repeated = False

    awaiting = True  # also between two parts of the answer: nothing is read slowly here

    def start(self) -> None:
        self._upstream.acquire(self)

    def drop(self) -> None:
        """Have nothing more to do with the service."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        else:
            self._upstream.abandon(self)

    def expire(self) -> None:
        """The replica has been silent for too long."""
        connection = self._connection
        if connection is not None:
            self.drop()
            connection.replica.failed()
            self._repeat(connection, "silence")

    def on_connection(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self.deadline = self._loop.time() + self._silence
        connection.expects(self._lines[0].partition(" ")[0].encode())
        told = callers.outgoing_timeout(self._end - self._loop.time())
        lines = [*self._lines, *(f"{name}: {value}" for name, value in told.items()), "", ""]
        connection.write("\r\n".join(lines).encode() + self._body)

    def on_no_connection(self, fault: str) -> None:  # noqa: ARG002 - how it failed makes no difference
        self._fail("no replica can be reached")

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        if self._hear() and self._connection is not None:
            self._connection.replica.answered(head.status)

    def on_body(self, data: bytes) -> None:
        if not self._hear():
            return
        self._received += data
        if len(self._received) > ANSWER_LIMIT:
            self.drop()
            self._fail("the answer is too large")

    def on_end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._upstream.release(connection)
        if self._head is not None and not self.answer.done():
            headers = {name.decode().lower(): value.decode() for name, value in self._head.fields}
            self.answer.set_result(Answer(self._head.status, headers, bytes(self._received)))

    def on_lost(self, fault: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if fault != STALLED:
                connection.replica.failed()
            self._repeat(connection, fault)

    def on_congested(self) -> None:
        """A request is small, and written as a whole."""

    on_drained = on_congested

    def _repeat(self, lost: UpstreamConnection, fault: str) -> None:
        """Ask another replica, once."""
        self.deadline = math.inf
        self._head = None
        self._received.clear()
        if self._repeated or self.answer.done() or not self._upstream.may_retry():
            self._fail(f"the connection ended: {fault}")
            return
        self._repeated = True
        self._upstream.acquire(self, avoid=lost.replica)

    def _hear(self) -> bool:
        """Note that something has come; False where it has come too late."""
        now = self._loop.time()
        if now > self.deadline:
            self.expire()
            return False
        self.deadline = now + self._silence
        if self._on_heard is not None and self._head is not None and self._head.status == HTTPStatus.OK:
            self._on_heard()
        return True

    def _fail(self, cause: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(CallFailedError(cause))


@contextlib.asynccontextmanager
async def open_service(url: str, resolve: Resolve = ask_system) -> AsyncIterator[Service]:
    """The service with this base URL, whose name may have many addresses, for as long as the context lasts."""
    parts = urlsplit(url)
    deadlines = Deadlines()
    upstream = Upstream(
        f"{parts.scheme}://{parts.netloc}",
        connections=CONNECTIONS,
        connect_timeout=CONNECT_TIMEOUT,
        dns_interval=DNS_INTERVAL,
        stall_timeout=STALL_TIMEOUT,
        deadlines=deadlines,
        resolve=resolve,
    )
    deadlines.start(asyncio.get_running_loop())
    try:
        await upstream.start()
        yield Service(upstream, deadlines, parts.path + (f"?{parts.query}" if parts.query else ""))
    finally:
        await upstream.close()
        deadlines.stop()
