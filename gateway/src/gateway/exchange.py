"""One request's way: its route, its token, who may, an upstream, and the answer back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import bearer, refusals, response, routes, trace_context
from gateway.access_log import AccessLog
from gateway.cors import Cors
from gateway.counters import Counters
from gateway.parser import ResponseHead
from gateway.pool import Upstream
from gateway.refusals import Answer, RefusedError
from gateway.request import Request
from gateway.response import CLOSE
from gateway.targets import RefusedTargetError
from gateway.upstream import UpstreamConnection
from gateway.verdicts import Verdicts
from gateway.verification import Allow, Deny, Unknown, Verdict
from gateway.websocket import Tunnel

if TYPE_CHECKING:
    from gateway.connection import Connection

SWITCHING_PROTOCOLS = 101
CLIENT_CLOSED_REQUEST = 499  # for the log only: nobody is left to answer

_ORDINARY_METHODS = frozenset(method.encode() for method in routes.ORDINARY_METHODS)
_EVERY_METHOD = ", ".join(routes.ORDINARY_METHODS)
_SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_USER_SCOPE = "UserActivity"
_NO_ROUTE = b"-"
# A replica that answers so has failed, whatever was asked; 503 may be an honest answer of a healthy one.
_FAILURES = frozenset((500, 502, 504))
_FAULTS = (
    RefusedError,
    RefusedTargetError,
    routes.NoRouteError,
    routes.MethodNotAllowedError,
    bearer.MalformedBearerError,
)


@dataclass(frozen=True)
class Proxy:
    """What all exchanges share. `upstreams` has one for each in the route table; times are in seconds."""

    verdicts: Verdicts
    upstreams: dict[routes.Upstream, Upstream]
    cors: Cors
    access_log: AccessLog
    counters: Counters
    body_limit: int
    read_timeout: float
    websocket_interval: float
    time: Callable[[], float]


class Exchange:
    """A request and its answer, between a client's connection and an upstream's; it keeps neither."""

    __slots__ = (
        "_answered",
        "_body_limit",
        "_body_received",
        "_chunked",
        "_client",
        "_head",
        "_identity",
        "_keep_alive",
        "_over",
        "_private",
        "_proxy",
        "_retried",
        "_route",
        "_sent",
        "_started",
        "_status",
        "_upgrade",
        "_upstream",
        "_upstream_connection",
        "request",
    )

    def __init__(self, proxy: Proxy, client: "Connection", request: Request) -> None:
        self.request = request
        self._proxy = proxy
        self._client = client
        self._started = proxy.time()
        proxy.counters.requests += 1
        self._identity = trace_context.identify(request.given)
        self._route: routes.Route | None = None
        self._upstream: Upstream | None = None
        self._upstream_connection: UpstreamConnection | None = None
        self._head = b""
        self._body_limit = proxy.body_limit
        self._body_received = 0
        self._sent = not request.has_body  # the whole request has gone up
        self._answered = False
        self._chunked = False
        self._keep_alive = False
        self._private = False
        self._retried = False
        self._upgrade = False
        self._status = 0
        self._over = False

    def start(self) -> None:
        """Decide about the request and send it on, now or when it is known who it is from."""
        try:
            self._decide()
        except _FAULTS as fault:
            self._refuse(_refusal(fault))

    # The decision

    def _decide(self) -> None:
        request = self.request
        if request.method not in _ORDINARY_METHODS:
            raise refusals.method_not_allowed(_EVERY_METHOD, close=True)
        if request.method == b"OPTIONS" and self._answers_options():
            return
        route = self._route = routes.match(request.method, request.path)
        self._check_length(route)
        given = request.authorization
        if route.policy == "pass" or (route.policy == "optional" and not given):
            self._forward(route, bearer.single(given))
            return
        allow = None
        if len(given) == 1 and given[0].startswith(b"Bearer ") and not request.query:
            allow = self._proxy.verdicts.allow(given[0][7:])
        if allow is not None:
            self._authorize(route, allow)
        else:
            authorization = bearer.read(given, request.query)
            self._proxy.verdicts.ask(authorization, request.given, self._identity.request_id, self)

    def _answers_options(self) -> bool:
        request = self.request
        if request.target == b"*":
            self._answer(Answer(204, f"Allow: {_EVERY_METHOD}\r\n".encode(), b""))
            return True
        lines = self._proxy.cors.preflight(request.first(b"origin"), request.first(b"access-control-request-method"))
        if lines is not None:
            self._answer(Answer(204, lines, b""))
        return lines is not None

    def _check_length(self, route: routes.Route) -> None:
        if route.body_limit is not None:
            self._body_limit = min(self._body_limit, route.body_limit)
        if self.request.length > self._body_limit:
            raise refusals.too_large()

    def on_verdict(self, verdict: Verdict) -> None:
        if self._over:
            return
        try:
            if isinstance(verdict, Deny):
                self._answer(verdict.answer)
            elif isinstance(verdict, Unknown):
                raise refusals.unavailable("the token cannot be verified at the moment", verdict.retry_after)
            elif self._route is not None:
                self._authorize(self._route, verdict)
        except _FAULTS as fault:
            self._refuse(_refusal(fault))

    def _authorize(self, route: routes.Route, allow: Allow) -> None:
        """Apply the route's policy, which is never remembered with the verdict. Raises RefusedError."""
        acts_as_user = allow.is_user and (not allow.scope or _USER_SCOPE in allow.scope)
        if route.users_only and not acts_as_user:
            raise refusals.insufficient_scope(_USER_SCOPE)
        self._private = True
        self._forward(route, b"Bearer " + allow.internal_token)

    # Up

    @property
    def awaiting(self) -> bool:
        """Whether it is the upstream's turn: all was sent, and nothing of an answer has come."""
        return self._sent and not self._answered

    @property
    def retriable(self) -> bool:
        """Whether it does no harm to ask another replica for the same."""
        return self.awaiting and self.request.method in _SAFE_METHODS and not self.request.has_body

    def _forward(self, route: routes.Route, authorization: bytes | None) -> None:
        request, identity = self.request, self._identity
        upstream = self._upstream = self._proxy.upstreams[route.upstream]
        said = b"x-request-id: %b\r\nx-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n%b" % (
            identity.request_id,
            self._client.peer,
            self._client.scheme,
            identity.trace_lines,
        )
        if self._private and request.upgrades and request.asks_for_websocket():
            self._upgrade = True
            said += b"connection: upgrade\r\nupgrade: websocket\r\n"
        if request.host:
            said += b"x-forwarded-host: %b\r\n" % request.host
        if authorization is not None:
            said += b"authorization: %b\r\n" % authorization
        self._head = request.head_for(upstream.host, said)
        upstream.acquire(self)

    def on_connection(self, connection: UpstreamConnection) -> None:
        request = self.request
        self._upstream_connection = connection
        connection.expects(request.method, upgrade=self._upgrade)
        connection.write(self._head)
        self._await_upstream()
        if not self._sent:
            if request.expects_continue and not self._client.has_begun_body:
                self._client.write(response.CONTINUE)
            self._client.want_body()

    def on_no_connection(self, late: bool) -> None:  # noqa: ARG002 - the client is told the same
        self._refuse(refusals.unavailable("the service cannot be reached"))

    def on_request_body(self, content: bytes, *, complete: bool) -> None:
        """A part of the client's body; the last one where it is complete."""
        self._body_received += len(content)
        if self._body_received > self._body_limit:
            self.on_request_fault(refusals.too_large())
            return
        connection = self._upstream_connection
        if connection is None:
            return
        if self.request.chunked:
            content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + (
                b"0\r\n\r\n" if complete else b""
            )
        if content:
            connection.write(content)
        if complete:
            self._sent = True
            self._await_upstream()

    def on_request_fault(self, fault: RefusedError) -> None:
        """The client's body is late, too large or malformed: the upstream must not take it for a whole one."""
        self._drop_upstream()
        if self._answered:
            self._break_off()
        else:
            self._refuse(fault)

    def on_congested(self) -> None:
        self._client.hold_body()
        self._await_upstream()

    def on_drained(self) -> None:
        if not self._sent:
            self._client.want_body()

    # Down

    def on_head(self, head: ResponseHead) -> None:
        request, client = self.request, self._client
        if head.status == SWITCHING_PROTOCOLS:
            self._switch(head)
            return
        if not 200 <= head.status <= 599:
            self._drop_upstream()
            self._fail(502, "the service answered with a status that has no place here")
            return
        self._answered = True
        self._status = head.status
        self._rate(failed=head.status in _FAILURES)
        unframed = head.chunked or head.length is None
        self._chunked = unframed and request.minor == 1
        self._keep_alive = self._sent and client.keeps_alive() and not (unframed and not self._chunked)
        self._await_upstream()
        client.write(response.relayed(head, self._added(), private=self._private, chunked=self._chunked))

    def _switch(self, head: ResponseHead) -> None:
        """The upstream opens the WebSocket that was asked for."""
        connection, self._upstream_connection = self._upstream_connection, None
        if connection is None:
            return
        connection.replica.succeeded()
        self._status = head.status
        self._keep_alive = True
        self._client.write(response.switching(head, self._added()))
        proxy, request, identity = self._proxy, self.request, self._identity

        def ask(tunnel: Tunnel) -> None:
            proxy.verdicts.ask(request.authorization[0], request.given, identity.request_id, tunnel)

        tunnel = Tunnel(self._client, connection, ask, proxy.websocket_interval)
        connection.user = tunnel
        self._end()
        self._client.hand_over(tunnel)

    def on_body(self, data: bytes) -> None:
        self._await_upstream()  # first: to write may make it the client who is waited for
        self._client.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def on_end(self) -> None:
        if self._chunked:
            self._client.write(b"0\r\n\r\n")
        connection, self._upstream_connection = self._upstream_connection, None
        if connection is not None and self._upstream is not None:
            if self._sent:
                self._upstream.release(connection)
            else:
                connection.abort()  # half a body has gone up: whatever is sent next would be taken for the rest
        self._finish()

    def on_lost(self, fault: str) -> None:  # noqa: ARG002 - the client is told the same
        connection, upstream = self._upstream_connection, self._upstream
        self._proxy.counters.upstream_failures += 1
        if self._answered:
            self._upstream_connection = None
            self._break_off()
            return
        self._rate(failed=True)
        self._upstream_connection = None
        if (
            connection is not None
            and upstream is not None
            and not self._retried
            and self.retriable
            and upstream.may_retry()
        ):
            self._retried = True
            self._proxy.counters.retries += 1
            upstream.acquire(self, avoid=connection.replica)
        else:
            self._fail(502, "the service broke off")

    def on_client_congested(self) -> None:
        if self._upstream_connection is not None:
            self._upstream_connection.pause()

    def on_client_drained(self) -> None:
        if self._upstream_connection is not None:
            self._upstream_connection.resume()
            self._await_upstream()

    def expire(self) -> None:
        """The upstream, or a client that reads nothing, has been waited for long enough."""
        if not self._answered:
            self._rate(failed=True)
        self._drop_upstream()
        if self._answered:
            self._break_off()
        else:
            self._fail(504, "the service did not answer in time")

    def on_client_gone(self) -> None:
        self._drop_upstream()
        if not self._over:
            self._status = CLIENT_CLOSED_REQUEST
            self._end()

    # Ends

    def _answer(self, answer: Answer, *, close: bool = False) -> None:
        """Answer by ourselves, whole."""
        self._status = answer.status
        self._keep_alive = self._client.keeps_alive() and not close
        with_body = self.request.method != b"HEAD"
        self._client.write(response.own(answer, self._added(), with_body=with_body))
        self._finish()

    def _refuse(self, fault: RefusedError) -> None:
        if fault.close and fault.status == 400:
            self._proxy.counters.malformed += 1
        self._answer(fault.answer(self.request.first(b"accept")), close=fault.close)

    def _fail(self, status: int, detail: str) -> None:
        self._refuse(refusals.upstream_failed(status, detail))

    def _break_off(self) -> None:
        """End the connection in the middle: to end the answer would make what was cut short look complete."""
        self._proxy.counters.answers_cut_short += 1
        self._end()
        self._client.abort()

    def _finish(self) -> None:
        self._end()
        self._client.finish(keep_alive=self._keep_alive)

    def _end(self) -> None:
        self._over = True
        proxy, route = self._proxy, self._route
        proxy.access_log.request(
            self.request.method,
            route.template if route is not None else _NO_ROUTE,
            self._status,
            self._started,
            proxy.time(),
            self._identity,
        )

    def _drop_upstream(self) -> None:
        connection, self._upstream_connection = self._upstream_connection, None
        if connection is not None:
            connection.abort()
        elif self._upstream is not None:
            self._upstream.abandon(self)

    def _rate(self, *, failed: bool) -> None:
        """Tell the replica how it did."""
        connection = self._upstream_connection
        if connection is not None and failed:
            connection.replica.failed()
        elif connection is not None:
            connection.replica.succeeded()

    def _await_upstream(self) -> None:
        self._client.deadline = self._proxy.time() + self._proxy.read_timeout

    def _added(self) -> bytes:
        """The lines that only the gateway adds to an answer."""
        cors = self._proxy.cors.headers(self.request.first(b"origin"))
        return b"X-Request-Id: %b\r\n%b%b" % (self._identity.request_id, cors, b"" if self._keep_alive else CLOSE)


def _refusal(fault: Exception) -> RefusedError:
    match fault:
        case RefusedError():
            return fault
        case routes.NoRouteError():
            return refusals.no_route()
        case routes.MethodNotAllowedError():
            return refusals.method_not_allowed(fault.allow)
        case bearer.MalformedBearerError():
            return refusals.malformed_bearer(str(fault))
        case _:
            return refusals.malformed(str(fault))
