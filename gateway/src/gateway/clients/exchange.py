"""One request's way: its route, its token, who may, an upstream, and the answer back."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from gateway import routes
from gateway.clients import policy
from gateway.clients.access_log import AccessLog
from gateway.clients.cors import Cors
from gateway.clients.relay import SAFE_METHODS, Relay
from gateway.clients.websocket import Tunnel
from gateway.counters import Counters
from gateway.messages import bearer, refusals, response, trace_context
from gateway.messages.refusals import Answer, RefusedError
from gateway.messages.request import Request
from gateway.messages.response import CLOSE
from gateway.places import Places
from gateway.verdicts.cache import Verdicts
from gateway.verdicts.verification import Allow, Deny, Unknown, Verdict
from servicekit.http1.parser import ResponseHead
from servicekit.standstills import Standstills
from servicekit.upstreams.connection import UpstreamConnection
from servicekit.upstreams.pool import Upstream

if TYPE_CHECKING:
    from gateway.clients.connection import Connection

CLIENT_CLOSED_REQUEST = 499  # for the log only: nobody is left to answer

_NO_ROUTE = b"-"


@dataclass(frozen=True)
class Proxy:
    """What all exchanges share. Times are in seconds.

    `upstreams` has one for each in the route table, `places` those of the requests to it.
    """

    verdicts: Verdicts
    upstreams: dict[routes.Upstream, Upstream]
    places: dict[routes.Upstream, Places]
    cors: Cors
    access_log: AccessLog
    counters: Counters
    standstills: Standstills
    body_limit: int
    read_timeout: float
    websocket_interval: float
    time: Callable[[], float]

    @functools.cached_property
    def timeout_line(self) -> bytes:
        """Tells an upstream after how long nobody waits for its answer any more: seconds, three decimals at most."""
        seconds = f"{max(self.read_timeout, 0.001):.3f}".rstrip("0").rstrip(".")
        return b"x-parley-timeout: %b\r\n" % seconds.encode()


class Exchange:
    """A request on a client's connection, from its head to the end of its answer."""

    __slots__ = (
        "_allow",
        "_client",
        "_identity",
        "_logged",
        "_over",
        "_place",
        "_proxy",
        "_relay",
        "_route",
        "_started",
        "request",
    )

    def __init__(self, proxy: Proxy, client: "Connection", request: Request) -> None:
        self.request = request
        self._proxy = proxy
        self._client = client
        self._started = proxy.time()
        self._identity = trace_context.identify(request.given)
        self._route: routes.Route | None = None
        self._allow: Allow | None = None  # that let it in, where its route asks for one
        self._relay: Relay | None = None
        self._place: Places | None = None
        self._logged = True
        self._over = False
        proxy.counters.requests += 1

    def start(self) -> None:
        """Decide about the request and send it on, now or when it is known who it is from."""
        try:
            answer = policy.own_answer(self.request, self._proxy.cors)
            if answer is not None:
                self._answer(answer)
            else:
                self._decide()
        except RefusedError as fault:
            self.refuse(fault)

    # The decision

    def _decide(self) -> None:
        request = self.request
        route = self._route = routes.match(request.method, request.path)
        if request.length > policy.body_limit(route, self._proxy.body_limit):
            raise refusals.too_large()
        self._require_place(route)  # before anybody is asked about a token that would not be of use
        given = request.authorization
        if route.policy == "pass" or (route.policy == "optional" and not given):
            self._forward(route, bearer.single(given))
            return
        allow = None
        if len(given) == 1 and given[0].startswith(b"Bearer ") and not request.query:
            allow = self._proxy.verdicts.allow(given[0][7:])
        if allow is not None:
            self._let_through(route, allow)
        else:
            authorization = bearer.read(given, request.query)
            self._proxy.verdicts.ask(authorization, request.given, self._identity.request_id, self)

    def on_verdict(self, verdict: Verdict) -> None:
        if self._over:
            return
        try:
            if isinstance(verdict, Deny):
                self._answer(verdict.answer)
            elif isinstance(verdict, Unknown):
                raise refusals.unavailable("the token cannot be verified at the moment", verdict.retry_after)
            elif self._route is not None:
                self._let_through(self._route, verdict)
        except RefusedError as fault:
            self.refuse(fault)

    def _let_through(self, route: routes.Route, allow: Allow) -> None:
        policy.authorize(route, allow)
        self._allow = allow
        self._forward(route, b"Bearer " + allow.internal_token)

    def _require_place(self, route: routes.Route) -> Places:
        places = self._proxy.places[route.upstream]
        if places.full:
            self._proxy.counters.refused_requests_of_upstream += 1
            self._logged = False  # lines would come as fast as what there is too much of
            raise refusals.unavailable("the service has too many requests")
        return places

    def _forward(self, route: routes.Route, authorization: bytes | None) -> None:
        if self.left_behind:
            raise refusals.unavailable("the request was held up for too long")
        self._place = self._require_place(route)  # others may have come while the token was verified
        self._place.take()
        request, client, proxy = self.request, self._client, self._proxy
        upstream = proxy.upstreams[route.upstream]
        identity = self._identity
        said = b"x-request-id: %b\r\n%b%b%b" % (
            identity.request_id,
            client.origin.lines(request),
            proxy.timeout_line,
            identity.trace_lines,
        )
        private = self._allow is not None
        upgrade = private and request.upgrades and request.asks_for_websocket()
        if upgrade:
            said += b"connection: upgrade\r\nupgrade: websocket\r\n"
        if authorization is not None:
            said += b"authorization: %b\r\n" % authorization
        self._relay = Relay(
            self,
            client,
            upstream,
            request,
            request.head_for(upstream.host, said),
            proxy.counters,
            body_limit=policy.body_limit(route, proxy.body_limit),
            read_timeout=proxy.read_timeout,
            private=private,
            upgrade=upgrade,
            repeatable=route.repeatable,
        )
        self._relay.start()

    @property
    def left_behind(self) -> bool:
        """True if the client may have given up on the request, and perhaps have sent it elsewhere since.

        It may when this process stood still after the request arrived. It has when it closed its connection, which
        comes together with the request where a network was cut for a while.
        """
        changes = self.request.method not in SAFE_METHODS
        return self._proxy.standstills.spoiled(self._client.arrival) or (changes and self._client.client_has_left)

    # What the client's connection tells

    def on_request_body(self, content: bytes, *, complete: bool) -> None:
        if self._relay is not None:
            self._relay.on_request_body(content, complete=complete)

    def on_request_fault(self, fault: RefusedError) -> None:
        if self._relay is not None:
            self._relay.on_request_fault(fault)

    def on_client_congested(self) -> None:
        if self._relay is not None:
            self._relay.on_client_congested()

    def on_client_drained(self) -> None:
        if self._relay is not None:
            self._relay.on_client_drained()

    def expire(self) -> None:
        if self._relay is not None:
            self._relay.expire()

    def on_client_gone(self) -> None:
        if self._relay is not None:
            self._relay.drop()
        if not self._over:
            self._end(CLIENT_CLOSED_REQUEST)

    # Ends

    def refuse(self, fault: RefusedError) -> None:
        if fault.close and fault.status == HTTPStatus.BAD_REQUEST:
            self._proxy.counters.malformed += 1
        self._answer(fault.answer(self.request.first(b"accept")), close=fault.close)

    def _answer(self, answer: Answer, *, close: bool = False) -> None:
        """Answer by ourselves, whole."""
        keep_alive = self._client.keeps_alive() and not close
        with_body = self.request.method != b"HEAD"
        self._client.write(response.own(answer, self.added(keep_alive=keep_alive), with_body=with_body))
        self.finish(answer.status, keep_alive=keep_alive)

    def added(self, *, keep_alive: bool) -> bytes:
        """The lines that only the gateway adds to an answer."""
        cors = self._proxy.cors.headers(self.request.first(b"origin"))
        return b"X-Request-Id: %b\r\n%b%b" % (self._identity.request_id, cors, b"" if keep_alive else CLOSE)

    def finish(self, status: int, *, keep_alive: bool) -> None:
        self._end(status)
        self._client.finish(keep_alive=keep_alive)

    def break_off(self, status: int) -> None:
        self._proxy.counters.answers_cut_short += 1
        self._end(status)
        self._client.break_off()

    def switch(self, head: ResponseHead, connection: UpstreamConnection) -> None:
        """The upstream opens the WebSocket that was asked for."""
        proxy, request, identity = self._proxy, self.request, self._identity
        allow = cast(Allow, self._allow)  # without one no upstream is asked for a WebSocket

        def ask(tunnel: Tunnel) -> None:
            proxy.verdicts.ask(request.authorization[0], request.given, identity.request_id, tunnel)

        self._client.write(response.switching(head, self.added(keep_alive=True)))
        tunnel = Tunnel(self._client, connection, allow, ask, proxy.websocket_interval)
        connection.user = tunnel
        self._end(head.status)
        self._client.hand_over(tunnel)

    def _end(self, status: int) -> None:
        self._over = True
        if self._place is not None:
            self._place.give_back()
            self._place = None
        if not self._logged:
            return
        route = self._route.template if self._route is not None else _NO_ROUTE
        proxy = self._proxy
        proxy.access_log.request(self.request.method, route, status, self._started, proxy.time(), self._identity)
