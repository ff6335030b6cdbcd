"""The gateway's decisions on a request: whether to answer it directly, and whether its token is sufficient."""

from gateway import routes
from gateway.clients.cors import Cors
from gateway.messages import refusals
from gateway.messages.refusals import Answer
from gateway.messages.request import Request
from gateway.routes import Route
from gateway.verdicts.verification import Allow

_ORDINARY_METHODS = frozenset(method.encode() for method in routes.ORDINARY_METHODS)
_EVERY_METHOD = ", ".join(routes.ORDINARY_METHODS)
_USER_SCOPE = "UserActivity"


def own_answer(request: Request, cors: Cors) -> Answer | None:
    """The gateway's own answer to `OPTIONS *` and preflights, else None. Raises RefusedError for unknown methods."""
    if request.method not in _ORDINARY_METHODS:
        raise refusals.method_not_allowed(_EVERY_METHOD, close=True)
    if request.method != b"OPTIONS":
        return None
    if request.target == b"*":
        return Answer(204, f"Allow: {_EVERY_METHOD}\r\n".encode(), b"")
    lines = cors.preflight(request.first(b"origin"), request.first(b"access-control-request-method"))
    return Answer(204, lines, b"") if lines is not None else None


def authorize(route: Route, allow: Allow) -> None:
    """Apply the route's policy, which is never cached with the verdict. Raises RefusedError."""
    acts_as_user = allow.is_user and (not allow.scope or _USER_SCOPE in allow.scope)
    if route.users_only and not acts_as_user:
        raise refusals.insufficient_scope(_USER_SCOPE)
