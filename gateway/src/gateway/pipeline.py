"""The steps of every request, in order: framing, target, route, token, who may, forwarding."""

from collections.abc import Mapping

from aiohttp import hdrs, web

from gateway import bearer, framing, refusals, routes, targets
from gateway.headers import Headers, UnsendableHeaderError, from_client
from gateway.proxy import Proxy
from gateway.verification import Allow, Deny, Unknown, Verifier
from servicekit import http

_USER_SCOPE = "UserActivity"
_EVERY_METHOD = ", ".join(routes.ORDINARY_METHODS)

_FAULTS = (
    refusals.RefusedError,
    targets.RefusedTargetError,
    UnsendableHeaderError,
    routes.NoRouteError,
    routes.MethodNotAllowedError,
    bearer.MalformedBearerError,
)


class Pipeline:
    """Decides about a request and sends it on. `proxies` has one for each upstream in the route table."""

    def __init__(self, verifier: Verifier, proxies: Mapping[routes.Upstream, Proxy], body_limit: int) -> None:
        self._verifier = verifier
        self._proxies = proxies
        self._body_limit = body_limit

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to a request, whoever gives it."""
        request[http.ROUTE] = "-"
        try:
            response = await self._answer(request)
        except _FAULTS as fault:
            response = _refusal(fault).response(request.headers.get(hdrs.ACCEPT, ""))
        if not response.prepared and (framing.must_close(request) or hdrs.EXPECT in request.headers):
            response.force_close()  # a client that was not asked for its body may send it or not
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method not in routes.ORDINARY_METHODS:
            raise refusals.method_not_allowed(_EVERY_METHOD, close=True)
        framing.check(request, self._body_limit)
        if request.method == hdrs.METH_OPTIONS and request.raw_path == "*":
            return web.Response(status=204, headers={hdrs.ALLOW: _EVERY_METHOD})
        target = targets.read(request.raw_path)
        route = routes.match(request.method, target.path)
        request[http.ROUTE] = route.template
        kept = from_client(request.raw_headers)
        return await self._serve(request, route, target, kept)

    async def _serve(
        self, request: web.Request, route: routes.Route, target: targets.Target, kept: Headers
    ) -> web.StreamResponse:
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        proxy = self._proxies[route.upstream]
        if route.policy == "pass" or (route.policy == "optional" and not given):
            said = _said_by_gateway(request, bearer.single(given))
            return await proxy.forward(request, target.raw, [*kept, *said])
        verdict = await self._verifier.verify(bearer.header(given, target.query), kept)
        if isinstance(verdict, Deny):
            return _denial(verdict)
        said = _said_by_gateway(request, f"Bearer {_authorize(route, verdict)}")
        return await proxy.forward(request, target.raw, [*kept, *said], private=True)


def _authorize(route: routes.Route, verdict: Allow | Unknown) -> str:
    """The internal token of who may use the route. Raises RefusedError."""
    if isinstance(verdict, Unknown):
        raise refusals.unavailable("the token cannot be verified at the moment", verdict.retry_after)
    acts_as_user = verdict.is_user and (not verdict.scope or _USER_SCOPE in verdict.scope)
    if route.users_only and not acts_as_user:
        raise refusals.insufficient_scope(_USER_SCOPE)
    return verdict.internal_token


def _said_by_gateway(request: web.Request, authorization: str | None) -> Headers:
    """What only the gateway says to an upstream: who the request is from and how it reached us."""
    said = {
        **http.outgoing_request_id(),
        "X-Forwarded-For": request.remote,
        "X-Forwarded-Proto": request.scheme,
        "X-Forwarded-Host": request.headers.get(hdrs.HOST),
        hdrs.AUTHORIZATION: authorization,
    }
    return [(str(name), value) for name, value in said.items() if value is not None]


def _denial(deny: Deny) -> web.Response:
    response = web.Response(status=401, body=deny.body)
    for name, value in deny.headers:
        response.headers.add(name, value)
    return response


def _refusal(fault: Exception) -> refusals.RefusedError:
    match fault:
        case refusals.RefusedError():
            return fault
        case routes.NoRouteError():
            return refusals.no_route()
        case routes.MethodNotAllowedError():
            return refusals.method_not_allowed(fault.allow)
        case bearer.MalformedBearerError():
            return refusals.malformed_bearer(str(fault))
        case UnsendableHeaderError():
            return refusals.malformed("a header is not UTF-8")
        case _:
            return refusals.malformed(str(fault))
