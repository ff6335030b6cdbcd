"""One request, from its head to the end of its answer: route, token, policy, body, upstream."""

from http import HTTPStatus
from typing import cast

from gateway import routes
from gateway.clients import policy
from gateway.clients.in_flight import InFlight
from gateway.clients.intake import Intake
from gateway.clients.leases import Leases
from gateway.clients.proxy import Proxy
from gateway.clients.relay import SAFE_METHODS, Relay
from gateway.clients.upload import Upload
from gateway.clients.websocket import Tunnel
from gateway.messages import bearer, refusals, response, trace_context
from gateway.messages.refusals import Answer, RefusedError
from gateway.messages.request import Request
from gateway.messages.response import CLOSE
from gateway.verdicts.verification import Allow, Deny, Unknown, Verdict
from servicekit.http import BODY_LIMIT, CLIENT_CLOSED_REQUEST
from servicekit.http1.parser import ResponseHead
from servicekit.upstreams.connection import UpstreamConnection

_NO_ROUTE = b"-"


class Exchange(InFlight):
    """A request on a client's connection, from its head to the end of its answer.

    It holds the connection itself while it waits for a verdict. Its upload holds it while the body arrives, and its
    relay once the request is sent to an upstream.
    """

    __slots__ = (
        "_address",
        "_allow",
        "_authorization",
        "_identity",
        "_intake",
        "_keep_alive",
        "_leases",
        "_logged",
        "_network",
        "_over",
        "_proxy",
        "_route",
        "_started",
        "_upload",
        "request",
    )

    def __init__(self, proxy: Proxy, intake: Intake, request: Request) -> None:
        self.request = request
        self._proxy = proxy
        self._intake = intake
        client = self._client = intake.client
        client.holder = self
        self._started = proxy.time()
        self._identity = trace_context.identify(request.headers)
        self._route: routes.Route | None = None
        self._allow: Allow | None = None  # if its route requires a token
        self._authorization: bytes | None = None  # for the upstream
        self._address = client.origin.client(request)
        self._network = client.origin.network(self._address)
        self._leases = Leases(self._network, proxy.websockets)
        self._upload: Upload | None = None  # of a request that has a body, until it is answered
        if request.has_body:
            self._upload = Upload(self, client, intake.limits, request, proxy.buffer, self._network)
        self._keep_alive = False
        self._logged = True
        self._over = False
        proxy.counters.requests += 1

    def start(self) -> None:
        """Decide on the request and forward it, at once or when its verdict is there."""
        client, upload = self._client, self._upload
        try:
            answer = policy.own_answer(self.request, self._proxy.cors)
            if answer is not None:
                self._answer(answer)
            else:
                self._decide()
        except RefusedError as fault:
            self.refuse(fault)
        if upload is not None and not upload.complete and not self._over and client.holder is not upload:
            client.pause()  # bytes of a body that is not read yet do not count against a quota

    # The decision

    def _decide(self) -> None:
        request = self.request
        route = self._route = routes.match(request.method, request.path)
        if request.length > BODY_LIMIT and not route.dialect:
            raise refusals.too_large()
        self._proxy.requests[route.upstream].require(self._network)  # before auth-service is asked about the token
        values = request.authorization
        if route.policy == "pass" or (route.policy == "optional" and not values):
            self._authorization = bearer.single(values)
            self._receive(route)
        else:
            self._verify(route)

    def _verify(self, route: routes.Route) -> None:
        request, values = self.request, self.request.authorization
        allow = None
        if len(values) == 1 and values[0].startswith(b"Bearer ") and not request.query:
            allow = self._proxy.verdicts.allow(values[0][7:])
        if allow is not None:
            self._let_through(route, allow)
        else:
            authorization = bearer.read(values, request.query)
            self._proxy.verdicts.ask(authorization, request.headers, self._identity.request_id, self, self._network)

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
        self._authorization = b"Bearer " + allow.internal_token
        self._receive(route)

    def _receive(self, route: routes.Route) -> None:
        """Forward the request once its body is complete, so that a slow body takes no capacity of the upstream."""
        request, client, upload = self.request, self._client, self._upload
        if upload is None or upload.complete or request.length > BODY_LIMIT:
            self._forward(route)
            return
        if request.expects_continue and not client.buffer:
            client.write(response.CONTINUE)
        upload.start()

    def on_body(self) -> None:
        """The body is complete, or too large."""
        route, upload = self._route, self._upload
        if route is None or upload is None:
            return
        self._client.holder = self
        if not upload.complete:
            self._client.pause()
        try:
            if upload.too_large and not route.dialect:
                raise refusals.too_large()
            if self._allow is not None and not upload.too_large and self._verdict_is_old(upload):
                self._verify(route)
            else:
                self._forward(route)
        except RefusedError as fault:
            self.refuse(fault)

    def _verdict_is_old(self, upload: Upload) -> bool:
        """True if the token may have been revoked while the body arrived."""
        return self._proxy.time() - upload.began_at > self._proxy.verdict_interval

    def _forward(self, route: routes.Route) -> None:
        if self.left_behind:
            raise refusals.left_behind()
        request, proxy, allow = self.request, self._proxy, self._allow
        self._leases.claim_request(proxy.requests[route.upstream])  # others may have used up the quota in the meantime
        upgrade = False
        if allow is not None and request.upgrades and request.asks_for_websocket():
            self._leases.claim_websocket(allow.subject)
            upgrade = True
        upstream = proxy.upstreams[route.upstream]
        written, whole = request.head_for(upstream.host, self._own_lines(upgrade=upgrade)), True
        if self._upload is not None:
            written += self._upload.framed(chunked=request.chunked)
            whole = self._upload.complete
            self._upload.give_back()
        relay = self._client.holder = Relay(
            self,
            self._client,
            upstream,
            request,
            written,
            proxy.counters,
            whole=whole,
            read_timeout=proxy.read_timeout,
            private=allow is not None,
            upgrade=upgrade,
            repeatable=route.repeatable,
        )
        relay.start()

    def _own_lines(self, *, upgrade: bool) -> bytes:
        """The gateway's own header lines for the upstream."""
        identity = self._identity
        lines = b"x-request-id: %b\r\n%b%b%b" % (
            identity.request_id,
            self._client.origin.lines(self.request, self._address),
            self._proxy.timeout_line,
            identity.trace_lines,
        )
        if upgrade:
            lines += b"connection: upgrade\r\nupgrade: websocket\r\n"
        if self._authorization is not None:
            lines += b"authorization: %b\r\n" % self._authorization
        return lines

    @property
    def left_behind(self) -> bool:
        """True if the client may have given up on the request, and may have sent it elsewhere since.

        This is possible if this process was suspended after the request arrived. It is certain if the client has closed
        its connection, which can arrive together with the request after a network outage.
        """
        changes = self.request.method not in SAFE_METHODS
        return self._proxy.standstills.spoiled(self._intake.arrival) or (changes and self._client.client_has_left)

    def on_client_gone(self) -> None:
        if not self._over:
            self._end(CLIENT_CLOSED_REQUEST)

    # Ends

    def refuse(self, fault: RefusedError) -> None:
        if fault.close and fault.status == HTTPStatus.BAD_REQUEST:
            self._proxy.counters.malformed += 1
        self._logged = fault.logged
        self._answer(fault.answer(self.request.first(b"accept")), close=fault.close)

    def _answer(self, answer: Answer, *, close: bool = False) -> None:
        """Send a complete answer of the gateway's own."""
        read = self._upload is None or self._upload.pass_over()
        lines = self.begin_answer(reusable=read and not close)
        self._client.write(response.own(answer, lines, with_body=self.request.method != b"HEAD"))
        self.finish(answer.status)

    def begin_answer(self, *, reusable: bool, switching: bool = False) -> bytes:
        """The lines that the gateway adds to an answer. If `reusable`, the connection may be kept open."""
        self._keep_alive = reusable and self._intake.keeps_alive(self.request)
        connection = b"" if self._keep_alive or switching else CLOSE
        cors = self._proxy.cors.headers(self.request.first(b"origin"))
        return b"X-Request-Id: %b\r\n%b%b" % (self._identity.request_id, cors, connection)

    def finish(self, status: int) -> None:
        """The answer is complete."""
        unread = self._upload is not None and not self._upload.complete
        self._end(status)
        self._intake.finish(keep_alive=self._keep_alive, unread=unread)

    def break_off(self, status: int) -> None:
        """End the connection in the middle of an answer, which must not look complete."""
        self._proxy.counters.answers_cut_short += 1
        self._end(status)
        if self.request.minor == 0:
            self._client.reset()  # closing would look like the end of an answer without a length
        else:
            self._client.abort()

    def switch(self, head: ResponseHead, connection: UpstreamConnection) -> None:
        """The upstream has accepted the WebSocket."""
        proxy, request, identity = self._proxy, self.request, self._identity
        allow = cast(Allow, self._allow)  # only verified requests open a WebSocket

        def ask(tunnel: Tunnel) -> None:
            # No asker: a client must not be able to keep the WebSocket of a revoked token open by using up its share.
            proxy.verdicts.ask(request.authorization[0], request.headers, identity.request_id, tunnel, None)

        self._client.write(response.switching(head, self.begin_answer(reusable=False, switching=True)))
        end = self._leases.hand_over_websocket()
        tunnel = Tunnel(self._client, connection, allow, ask, end, proxy.verdict_interval, proxy.websocket_frames)
        connection.borrower = tunnel
        self._end(head.status)
        self._client.hand_over(tunnel)

    def _end(self, status: int) -> None:
        self._over = True
        self._leases.give_back()
        if self._upload is not None:
            self._upload.give_back()
            self._upload = None  # the two refer to each other
        if not self._logged:
            return
        route = self._route.template if self._route is not None else _NO_ROUTE
        proxy = self._proxy
        proxy.access_log.request(self.request.method, route, status, self._started, proxy.time(), self._identity)
