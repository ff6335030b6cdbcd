"""Sends an authorized request to an upstream and passes the answer on to the client."""

from http import HTTPStatus
from typing import Protocol

from gateway.clients.connection import Connection
from gateway.clients.in_flight import InFlight
from gateway.counters import Counters
from gateway.messages import refusals, response
from gateway.messages.refusals import RefusedError
from gateway.messages.request import Request
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import STALLED, UpstreamConnection
from servicekit.upstreams.pool import Upstream

SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
# Longer than a healthy replica takes for any request that may be repeated, waiting for a password hash included. A
# replica that is silent for longer but answers probes is assumed to have lost the connection.
LONGEST_SILENCE = 4.0


class Requester(Protocol):
    """The part of an exchange that its relay uses."""

    @property
    def left_behind(self) -> bool: ...

    def begin_answer(self, *, reusable: bool) -> bytes: ...
    def refuse(self, fault: RefusedError) -> None: ...
    def finish(self, status: int) -> None: ...
    def break_off(self, status: int) -> None: ...
    def switch(self, head: ResponseHead, connection: UpstreamConnection) -> None: ...
    def on_client_gone(self) -> None: ...


class Relay(InFlight):
    """Holds the client's connection while one request is sent to `upstream` and answered.

    `written` is the `whole` request, or the part of a request with too large a body that the upstream needs to refuse
    it. The answer to a `private` request must not be kept by shared caches; an `upgrade` may be answered with 101; a
    `repeatable` request may be executed twice. Times are in seconds.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_counters",
        "_held",
        "_private",
        "_read_timeout",
        "_repeatable",
        "_request",
        "_requester",
        "_status",
        "_upgrade",
        "_upstream",
        "_whole",
        "_written",
    )

    def __init__(
        self,
        requester: Requester,
        client: Connection,
        upstream: Upstream,
        request: Request,
        written: bytes,
        counters: Counters,
        *,
        whole: bool,
        read_timeout: float,
        private: bool,
        upgrade: bool,
        repeatable: bool,
    ) -> None:
        self._requester = requester
        self._client = client
        self._upstream = upstream
        self._request = request
        self._written = written
        self._counters = counters
        self._whole = whole
        self._read_timeout = read_timeout
        self._private = private
        self._upgrade = upgrade
        self._repeatable = whole and (repeatable or (request.method in SAFE_METHODS and not request.has_body))
        self._connection: UpstreamConnection | None = None
        self._status = 0  # of the answer, once it has begun
        self._chunked = False
        self._held = b""  # the answer's head, if it is to be written together with what follows

    def start(self) -> None:
        self._upstream.acquire(self)

    # Up

    @property
    def awaiting(self) -> bool:
        """True until the answer begins."""
        return not self._status

    def on_connection(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        if self._requester.left_behind:
            self.drop()
            self._requester.refuse(refusals.left_behind())
            return
        connection.expects(self._request.method, upgrade=self._upgrade)
        connection.write(self._written)
        self._await_upstream()

    def on_no_connection(self, fault: str) -> None:  # noqa: ARG002 - the answer is always the same
        self._requester.refuse(refusals.unavailable("the service cannot be reached"))

    def on_congested(self) -> None:
        """Nothing more is written: the request was written as a whole."""

    on_drained = on_congested

    # Down

    def on_head(self, head: ResponseHead) -> None:
        client, connection = self._client, self._connection
        if connection is None:
            return
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
            connection.replica.succeeded()
            self._connection = None
            self._upstream.detach(connection)
            self._requester.switch(head, connection)
            return
        if not 200 <= head.status <= 599:
            self.drop()
            self._fail(refusals.upstream_failed(502, "the service answered with a status that has no place here"))
            return
        self._status = head.status
        connection.replica.answered(head.status)
        unframed = head.chunked or head.length is None
        self._chunked = unframed and self._request.minor == 1
        added = self._requester.begin_answer(reusable=self._whole and not (unframed and not self._chunked))
        self._await_upstream()  # before write(), which may change the deadline to one for the client
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
            if self._whole:
                self._upstream.release(connection)
            else:
                connection.abort()  # the upstream would read a next request as the rest of the body
        self._requester.finish(self._status)

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
        """True if the request can be repeated without harm."""
        return self._repeatable and not self._status

    def _may_repeat(self) -> bool:
        return self._could_repeat and self._upstream.may_retry()

    def _repeat(self, lost: UpstreamConnection) -> None:
        """Send the request to another replica."""
        self._repeatable = False
        self._counters.retries += 1
        self._upstream.acquire(self, avoid=lost.replica)

    # What happens on the client's connection

    def on_client_congested(self) -> None:
        self._client.await_reader()
        if self._connection is not None:
            self._connection.pause()

    def on_client_drained(self) -> None:
        if self._connection is not None:
            self._connection.resume()
            self._await_upstream()

    def on_client_gone(self) -> None:
        self.drop()
        self._requester.on_client_gone()

    def expire(self) -> None:
        """The upstream has not answered in time, or the client has not read the answer in time."""
        connection = self._connection
        if connection is not None and self._waits_shortly:
            self._read_timeout -= LONGEST_SILENCE
            if not self._may_repeat():
                self._repeatable = False  # there is no other replica: this one gets the rest of the time
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

    # Ends

    def drop(self) -> None:
        """Give up the connection to the upstream, or waiting for one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        else:
            self._upstream.abandon(self)

    def _fail(self, fault: RefusedError) -> None:
        """Answer with a refusal, or break off an answer that has begun."""
        if self._status:
            self._requester.break_off(self._status)
        else:
            self._requester.refuse(fault)

    def _await_upstream(self) -> None:
        self._client.wait(LONGEST_SILENCE if self._waits_shortly else self._read_timeout)

    @property
    def _waits_shortly(self) -> bool:
        return self._could_repeat and self._read_timeout > LONGEST_SILENCE
