"""One connection to a replica: requests go out on it one after another, and what is answered goes to its borrower."""

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
    """The party that has a connection or waits for one: a request, a question to /verify-token, a WebSocket."""

    @property
    def awaiting(self) -> bool:
        """The replica owes it something: silence from now on is the replica's doing."""

    def on_connection(self, connection: "UpstreamConnection") -> None:
        """It is the borrower's now, who says what it expects and writes."""

    def on_no_connection(self, fault: str, /) -> None:
        """There is none, and nothing was written.

        `unreachable`, or `full`: the pool had no room for it in time, which says nothing about any replica.
        """

    def on_head(self, head: ResponseHead) -> None:
        """The final response's head, or that of a 101 that was asked for."""

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None:
        """The answer is whole. The connection is still the borrower's, who releases it."""

    def on_lost(self, fault: str, /) -> None:
        """The answer will not come, or not come whole, and the connection is gone.

        `closed`, `malformed`, or `stalled`: the replica hangs, and there is another one that does not.
        """

    def on_congested(self) -> None:
        """The replica reads more slowly than is written."""

    def on_drained(self) -> None:
        """It has caught up."""


class Owner(Protocol):
    """The pool, or the object that took a connection over from it, as the connection knows them."""

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
        self.reusable = True  # no answer is outstanding, and neither side has said close
        self.owner = owner
        self._parser = ResponseParser(self)
        self._asked = False  # and not a byte of the answer has come
        self._ended = False  # the parser says so
        self._answered = False  # the borrower knows it
        self._paused = False
        self._congested = False

    def lend(self, borrower: Borrower) -> None:
        """It is the borrower's until that one releases or aborts it."""
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
        """Give up what is under way. It stands for a release, and the borrower hears no more."""
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
        """It is of no more use: it leaves the pool, and then a borrower who still waits for its answer is told."""
        borrower = self.borrower
        self.owner.forget(self)
        if borrower is not None and not self._answered:
            borrower.on_lost(fault)

    def stall(self) -> None:
        self.fail(STALLED)

    def disconnect(self) -> None:
        """Close it. What was given up must not be delivered once the network lets it, and be executed then."""
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

    # What the transport calls.

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

    # What the parser calls. A borrower that has given up in between hears nothing of the rest.

    def on_head(self, head: ResponseHead) -> None:
        self._asked = False
        if self.borrower is not None:
            self.borrower.on_head(head)

    def on_body(self, data: bytes) -> None:
        if self.borrower is not None:
            self.borrower.on_body(data)

    def on_end(self) -> None:
        self._ended = True  # the borrower releases the connection at the end, which must not happen inside the parser

    def _finish(self) -> None:
        self._ended = False
        self._answered = True
        self.reusable = self._parser.keep_alive and not self._congested
        if self.borrower is not None:
            self.borrower.on_end()


PooledReplica = Replica[UpstreamConnection]
