"""The two ways of a request that was let through: its body up to an upstream, the answer down to the client."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from gateway.clients import repetition
from gateway.clients.repetition import Repetition
from gateway.counters import Counters
from gateway.messages import refusals, response
from gateway.messages.refusals import RefusedError
from gateway.messages.request import Request
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import STALLED, UpstreamConnection
from servicekit.upstreams.pool import Upstream

if TYPE_CHECKING:
    from gateway.clients.connection import Connection

SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))


class Ends(Protocol):
    """Who is told how it ended, and writes what the gateway itself has to say."""

    @property
    def left_behind(self) -> bool: ...

    def refuse(self, fault: RefusedError) -> None: ...
    def added(self, *, keep_alive: bool) -> bytes: ...
    def finish(self, status: int, *, keep_alive: bool) -> None: ...
    def break_off(self, status: int) -> None: ...
    def switch(self, head: ResponseHead, connection: UpstreamConnection) -> None: ...


class Relay:
    """One request on its way to `upstream` and back.

    `head` is what is sent up, `private` keeps shared caches from the answer, and `upgrade` says that a WebSocket may
    come of it. Neither body is held, except that of a `repeatable` request, which may be executed twice. Times are in
    seconds.
    """

    __slots__ = (
        "_body_limit",
        "_body_received",
        "_chunked",
        "_client",
        "_congested",
        "_connection",
        "_counters",
        "_ends",
        "_head",
        "_held",
        "_keep_alive",
        "_private",
        "_read_timeout",
        "_repetition",
        "_request",
        "_sent",
        "_status",
        "_upgrade",
        "_upstream",
    )

    def __init__(
        self,
        ends: Ends,
        client: "Connection",
        upstream: Upstream,
        request: Request,
        head: bytes,
        counters: Counters,
        *,
        body_limit: int,
        read_timeout: float,
        private: bool,
        upgrade: bool,
        repeatable: bool,
    ) -> None:
        self._ends = ends
        self._client = client
        self._upstream = upstream
        self._request = request
        self._head = head
        self._counters = counters
        self._body_limit = body_limit
        self._read_timeout = read_timeout
        self._private = private
        self._upgrade = upgrade
        self._repetition = Repetition(harmless=repeatable or (request.method in SAFE_METHODS and not request.has_body))
        self._congested = False
        self._connection: UpstreamConnection | None = None
        self._body_received = 0
        self._sent = not request.has_body  # the whole request has gone up
        self._status = 0  # of the answer, once it has begun
        self._chunked = False
        self._keep_alive = False
        self._held = b""  # the answer's head, where what follows it goes down in the same write

    def start(self) -> None:
        self._upstream.acquire(self)

    # Up

    @property
    def awaiting(self) -> bool:
        """True while it is the upstream's turn: to answer, or to read on."""
        return not self._status and (self._sent or self._congested)

    def on_connection(self, connection: UpstreamConnection) -> None:
        request = self._request
        self._connection = connection
        if self._ends.left_behind:
            self._leave_undone()
            return
        connection.expects(request.method, upgrade=self._upgrade)
        connection.write(self._head + self._repetition.body)
        self._await_upstream()
        if not self._sent:
            if request.expects_continue and not self._client.has_begun_body:
                self._client.write(response.CONTINUE)
            self._client.want_body()

    def on_no_connection(self, late: bool) -> None:  # noqa: ARG002 - the client is told the same
        self._ends.refuse(refusals.unavailable("the service cannot be reached"))

    def on_request_body(self, content: bytes, *, complete: bool) -> None:
        """A part of the client's body; the last one where it is complete."""
        self._body_received += len(content)
        if self._body_received > self._body_limit:
            self.on_request_fault(refusals.too_large())
            return
        connection = self._connection
        if connection is None:
            return
        if complete and self._ends.left_behind:
            self._leave_undone()
            return
        if self._request.chunked:
            end = b"0\r\n\r\n" if complete else b""
            content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + end
        if content:
            self._repetition.hold(content)
            connection.write(content)
        if complete:
            self._sent = True
            self._await_upstream()

    def _leave_undone(self) -> None:
        """Let the upstream never have the whole request: its client may have sent it elsewhere by now."""
        self.drop()
        self._fail(refusals.unavailable("the request was held up for too long"))

    def on_request_fault(self, fault: RefusedError) -> None:
        """The client's body is late, too large or malformed: the upstream must not take it for a whole one."""
        self.drop()
        self._fail(fault)

    def on_congested(self) -> None:
        self._congested = True
        self._client.hold_body()
        self._await_upstream()

    def on_drained(self) -> None:
        self._congested = False
        if not self._sent:
            self._client.want_body()

    # Down

    def on_head(self, head: ResponseHead) -> None:
        client, connection = self._client, self._connection
        if connection is None:
            return
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
            connection.replica.succeeded()
            self._connection = None
            self._ends.switch(head, connection)
            return
        if not 200 <= head.status <= 599:
            self.drop()
            self._fail(refusals.upstream_failed(502, "the service answered with a status that has no place here"))
            return
        self._status = head.status
        connection.replica.answered(head.status)
        unframed = head.chunked or head.length is None
        self._chunked = unframed and self._request.minor == 1
        self._keep_alive = self._sent and client.keeps_alive() and not (unframed and not self._chunked)
        added = self._ends.added(keep_alive=self._keep_alive)
        self._await_upstream()  # first: to write may make it the client who is waited for
        written = response.relayed(head, added, private=self._private, chunked=self._chunked)
        if head.followed:
            self._held = written
        else:
            client.write(written)

    def on_body(self, data: bytes) -> None:
        self._await_upstream()
        if self._held:
            data, self._held = self._held + data, b""
        self._client.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def on_end(self) -> None:
        if self._chunked:
            self._client.write(b"0\r\n\r\n")
        elif self._held:
            self._client.write(self._held)
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._sent:
                self._upstream.release(connection)
            else:
                connection.abort()  # half a body has gone up: whatever is sent next would be taken for the rest
        self._ends.finish(self._status, keep_alive=self._keep_alive)

    def on_lost(self, fault: str) -> None:
        connection, self._connection = self._connection, None
        self._counters.upstream_failures += 1
        if connection is not None and not self._status:
            if fault != STALLED:
                connection.replica.failed()
            if self._may_repeat():
                self._repeat(connection)
                return
        if fault == STALLED:
            self._fail(refusals.upstream_failed(504, "the service hangs", retry_after="1"))
        else:
            self._fail(refusals.upstream_failed(502, "the service broke off", retry_after="0"))

    @property
    def _could_repeat(self) -> bool:
        """True if it does no harm to ask for the same once more, which takes the whole request."""
        return bool(self._repetition) and self._sent and not self._status

    def _may_repeat(self) -> bool:
        return self._could_repeat and self._upstream.may_retry()

    def _repeat(self, lost: UpstreamConnection) -> None:
        """Ask another replica."""
        self._repetition.take()
        self._counters.retries += 1
        self._upstream.acquire(self, avoid=lost.replica)

    def on_client_congested(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def on_client_drained(self) -> None:
        if self._connection is not None:
            self._connection.resume()
            self._await_upstream()

    # Ends

    def expire(self) -> None:
        """The upstream, or a client that reads nothing, has been waited for long enough."""
        connection = self._connection
        if connection is not None and self._waits_shortly:
            self._read_timeout -= repetition.LONGEST_SILENCE
            if not self._may_repeat():
                self._repetition.give_up()  # nobody else can be asked: the replica gets the rest of the time
                self._await_upstream()
                return
            self.drop()
            self._upstream.distrust(connection.replica)
            self._repeat(connection)
            return
        if connection is not None and not self._status:
            connection.replica.failed()
        self.drop()
        self._fail(refusals.upstream_failed(504, "the service did not answer in time"))

    def drop(self) -> None:
        """Have nothing more to do with the upstream."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        else:
            self._upstream.abandon(self)

    def _fail(self, fault: RefusedError) -> None:
        """Answer with a refusal, or end in the middle: to end a begun answer would make it look complete."""
        if self._status:
            self._ends.break_off(self._status)
        else:
            self._ends.refuse(fault)

    def _await_upstream(self) -> None:
        self._client.wait(repetition.LONGEST_SILENCE if self._waits_shortly else self._read_timeout)

    @property
    def _waits_shortly(self) -> bool:
        return self._could_repeat and self._read_timeout > repetition.LONGEST_SILENCE
