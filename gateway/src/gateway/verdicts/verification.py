"""Questions to auth-service about tokens. An answer that is not exactly an allow or a deny admits no request."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from gateway.messages import bearer
from gateway.messages.refusals import Answer
from servicekit import wire
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import FULL, UpstreamConnection
from servicekit.upstreams.pool import Upstream

_ANSWER_LIMIT = 64 * 1024

_RELAYED = frozenset((b"content-type", b"www-authenticate", b"cache-control", b"pragma", b"content-language"))


@dataclass(frozen=True, slots=True)
class Allow:
    """The token was valid at `given_at` and is until `expires_at` at most, both in `loop.time()`.

    `subject` is a user's id in decimal or `client:<client_id>`.
    """

    subject: str
    scope: frozenset[str]
    internal_token: bytes
    given_at: float
    expires_at: float

    @property
    def is_user(self) -> bool:
        return self.subject.isascii() and self.subject.isdigit()


@dataclass(frozen=True, slots=True)
class Deny:
    """The token is refused. The answer has status 401 in the form of its dialect, and is relayed unchanged."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no verdict. `retry_after` is the value of the header; `answered` tells whether auth-service answered.

    It is None if the question was not sent because all connections to auth-service were in use.
    """

    retry_after: str = "1"
    answered: bool | None = True


Verdict = Allow | Deny | Unknown


class UnreadableVerdictError(Exception):
    """The answer is neither an allow nor a deny."""


class Question:
    """One call of `/verify-token`, which always ends with `then(verdict)`.

    `lines` are the headers to send: the client's `Authorization` and those that negotiate the form of a deny. There are
    `timeout` seconds from `now`; if a replica sends nothing within half of them, another replica is asked.
    """

    awaiting = True  # not a byte of an answer has come

    def __init__(
        self,
        upstream: Upstream,
        lines: bytes,
        then: Callable[[Verdict], None],
        *,
        now: float,
        timeout: float,
        has_token: bool,
    ) -> None:
        self._asked_at = now
        self.deadline = now + timeout / 2
        self._end_of_patience = now + timeout
        self._upstream = upstream
        self._head = b"GET /verify-token HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (upstream.host, lines)
        self._then = then
        self._has_token = has_token
        self._connection: UpstreamConnection | None = None
        self._answer: ResponseHead | None = None
        self._body = bytearray()
        self._retried = False

    def ask(self) -> None:
        self._upstream.acquire(self)

    def expire(self) -> None:
        connection = self._connection
        if self.deadline == self._end_of_patience:
            self._give_up(answered=False)
            return
        self.deadline = self._end_of_patience
        if connection is not None and self._may_retry():
            connection.abort()
            self._ask_another(connection)

    def on_connection(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.expects(b"GET")
        connection.write(self._head)

    def on_no_connection(self, fault: str) -> None:
        self._end(Unknown(answered=None if fault == FULL and not self._retried else False))

    def on_head(self, head: ResponseHead) -> None:
        self._answer = head
        self.awaiting = False
        if self._connection is not None:
            self._connection.replica.answered(head.status)

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > _ANSWER_LIMIT:
            self._give_up(answered=True)

    def on_end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._answer is not None:
            self._upstream.release(connection)
            self._end(self._read(self._answer))

    def on_lost(self, fault: str) -> None:  # noqa: ARG002 - all faults are treated alike
        connection, self._connection = self._connection, None
        if connection is not None and self._may_retry():
            self._ask_another(connection)
            return
        if connection is not None:
            connection.replica.failed()
        self._end(Unknown(answered=False))

    def on_congested(self) -> None:
        """Nothing more is written."""

    on_drained = on_congested

    def _may_retry(self) -> bool:
        return self.awaiting and not self._retried and self._upstream.may_retry()

    def _ask_another(self, lost: UpstreamConnection) -> None:
        self._connection = None
        self._retried = True
        lost.replica.failed()
        self._upstream.acquire(self, avoid=lost.replica)

    def _give_up(self, *, answered: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.replica.failed()
            connection.abort()
        else:
            self._upstream.abandon(self)
        self._end(Unknown(answered=answered))

    def _end(self, verdict: Verdict) -> None:
        self.deadline = float("inf")
        self._then(verdict)

    def _read(self, head: ResponseHead) -> Verdict:
        try:
            return _verdict(head, bytes(self._body), has_token=self._has_token, asked_at=self._asked_at)
        except (wire.MalformedBodyError, UnreadableVerdictError):
            return Unknown()


def _verdict(head: ResponseHead, body: bytes, *, has_token: bool, asked_at: float) -> Verdict:
    if head.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return Unknown(_retry_after(head))
    if head.status == HTTPStatus.UNAUTHORIZED:
        lines = [b"%b: %b\r\n" % field for field in head.fields if field[0].lower() in _RELAYED]
        return Deny(Answer(head.status, b"".join(lines), body))
    content_types = [value for name, value in head.fields if name.lower() == b"content-type"]
    if head.status != HTTPStatus.OK or not has_token or len(content_types) != 1:
        raise UnreadableVerdictError
    if content_types[0].partition(b";")[0].strip().lower() != wire.JSON.encode():
        raise UnreadableVerdictError
    return _allow(wire.read_json(body), asked_at)


def _retry_after(head: ResponseHead) -> str:
    values = [value for name, value in head.fields if name.lower() == b"retry-after"]
    return values[0].decode() if len(values) == 1 and values[0].isdigit() and len(values[0]) <= 5 else "1"


def _allow(answer: dict[str, Any], asked_at: float) -> Allow:
    """Read an allow, checking exact types: the text "true" is not true.

    The verdict counts from the time at which it was asked for, the earliest time at which it can have been given. The
    remaining lifetime of the token is in seconds, so that clock skew between machines has no effect.
    """
    texts = [answer.get(name) for name in ("sub", "client_id", "scope", "internal_token")]
    if answer.get("active") is not True or not all(isinstance(text, str) for text in texts):
        raise UnreadableVerdictError
    subject, client_id, scope, token = map(str, texts)
    remaining = answer.get("expires_in")
    if not subject or not client_id or not bearer.is_token(token.encode()) or type(remaining) is not int:
        raise UnreadableVerdictError
    return Allow(subject, frozenset(scope.split()), token.encode(), asked_at, asked_at + remaining)
