"""A connection to a replica, which carries one request after another and passes the answers to its borrower."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from servicekit.http1.parser import MalformedMessageError, ResponseHead
from servicekit.http1.response_parser import ResponseParser
from servicekit.resets import reset
from servicekit.upstreams.replicas import Replica

CLOSED = "closed"
MALFORMED = "malformed"
STALLED = "stalled"

UNREACHABLE = "unreachable"
FULL = "full"


class Borrower(Protocol):
    """A party that has a connection or waits for one: a request, a question to /verify-token, a WebSocket."""

    @property
    def awaiting(self) -> bool:
        """True if the replica has to send something, so that its silence counts against it."""

    def on_connection(self, connection: "UpstreamConnection") -> None:
        """The connection is lent to the borrower, which calls `expects` and then writes."""

    def on_no_connection(self, fault: str, /) -> None:
        """There is no connection, and nothing was written.

        `fault` is `unreachable`, or `full` if the pool had no room in time, which is not the fault of a replica.
        """

    def on_head(self, head: ResponseHead) -> None:
        """The head of the final response, or of a 101 response that was expected."""

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None:
        """The answer is complete. The borrower still has the connection, and must release it."""

    def on_lost(self, fault: str, /) -> None:
        """The connection is lost before the answer is complete.

        `fault` is `closed`, `malformed`, or `stalled` if the replica hangs and another one does not.
        """

    def on_congested(self) -> None:
        """The replica reads more slowly than is written."""

    def on_drained(self) -> None:
        """The replica has caught up."""


class Owner(Protocol):
    """The pool, or the object that has taken over a connection from it, as the connection knows it."""

    def release(self, connection: "UpstreamConnection") -> None: ...
    def forget(self, connection: "UpstreamConnection") -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """A connection to `replica`. It belongs to the pool while `borrower` is None."""

    __slots__ = (
        "_answered",
        "_asked",
        "_congested",
        "_ended",
        "_parser",
        "_paused",
        "_transport",
        "borrower",
        "expires",
        "idle_since",
        "owner",
        "replica",
        "requests",
        "reusable",
        "write",
    )

    write: Callable[[bytes], None]
    _transport: asyncio.Transport

    def __init__(self, replica: "Replica[UpstreamConnection]", owner: Owner, expires: float) -> None:
        self.replica = replica
        self.borrower: Borrower | None = None
        self.expires = expires
        self.idle_since = 0.0
        self.requests = 0
        self.reusable = True  # no answer is outstanding, and neither side wants to close
        self.owner = owner
        self._parser = ResponseParser(self)
        self._asked = False  # and no byte of the answer has arrived
        self._ended = False  # the parser has reached the end of the answer
        self._answered = False  # the borrower has been told of the end
        self._paused = False
        self._congested = False

    def lend(self, borrower: Borrower) -> None:
        """Lend the connection until the borrower releases or aborts it."""
        self.borrower = borrower
        self.replica.in_flight += 1
        borrower.on_connection(self)

    def expects(self, method: bytes, *, upgrade: bool = False) -> None:
        """A request with this method is about to be written; `upgrade`: it may be answered with 101."""
        self.requests += 1
        self.reusable = False
        self._asked = True
        self._answered = False
        self._parser.expect(method, upgrade=upgrade)

    def abort(self) -> None:
        """Give up the current request. This releases the connection, and the borrower receives nothing more."""
        self.reusable = False
        self.owner.release(self)

    def pause(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def fail(self, fault: str) -> None:
        """Remove the connection from the pool, and then tell a borrower that still waits for its answer."""
        borrower = self.borrower
        self.owner.forget(self)
        if borrower is not None and not self._answered:
            borrower.on_lost(fault)

    def stall(self) -> None:
        self.fail(STALLED)

    def disconnect(self) -> None:
        """Close the connection. A request that was given up must not be delivered and executed later."""
        self.reusable = False
        if self._asked:
            reset(self._transport)
        else:
            self._transport.abort()

    @property
    def owes_answer(self) -> bool:
        return self.borrower is not None and self.borrower.awaiting

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write

    def data_received(self, data: bytes) -> None:
        self.replica.heard = True
        try:
            self._parser.feed(data)
        except MalformedMessageError:
            self.fail(MALFORMED)
            return
        if self._ended:
            self._finish()

    def eof_received(self) -> None:
        if self._parser.finish():
            self._finish()
        else:
            self.fail(CLOSED)

    def connection_lost(self, _error: Exception | None) -> None:
        self.fail(CLOSED)

    def pause_writing(self) -> None:
        self._congested = True
        if self.borrower is not None:
            self.borrower.on_congested()

    def resume_writing(self) -> None:
        self._congested = False
        if self.borrower is not None:
            self.borrower.on_drained()

    # Called by the parser. A borrower that has given up in the meantime receives nothing more.

    def on_head(self, head: ResponseHead) -> None:
        self._asked = False
        if self.borrower is not None:
            self.borrower.on_head(head)

    def on_body(self, data: bytes) -> None:
        if self.borrower is not None:
            self.borrower.on_body(data)

    def on_end(self) -> None:
        self._ended = True  # told later: the borrower releases the connection, which must not happen inside the parser

    def _finish(self) -> None:
        self._ended = False
        self._answered = True
        self.reusable = self._parser.keep_alive and not self._congested
        if self.borrower is not None:
            self.borrower.on_end()


PooledReplica = Replica[UpstreamConnection]
