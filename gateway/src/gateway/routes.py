"""The public API: every path, the upstream that serves it, and the token that a request needs."""

import functools
import re
from dataclasses import dataclass
from typing import Literal

from gateway.messages import refusals
from gateway.messages.targets import check_path

UpstreamName = Literal["auth", "users"]
UPSTREAMS: tuple[UpstreamName, ...] = ("auth", "users")
Policy = Literal["pass", "verified", "optional"]

ORDINARY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_USER_ID = r"[0-9]{1,19}"
_SESSION_ID = r"[0-9a-f]{16}|current"


@dataclass(frozen=True)
class Route:
    """One row of the table.

    Each pair of braces in `path` holds a regular expression; the path is matched as it was sent, undecoded. `policy`:
    `pass` forwards the client's `Authorization` as it is, `verified` requires a token and replaces it with an internal
    one, `optional` does the same if a token was sent. If `methods` is None, the upstream answers 405 in its dialect.
    `users_only` requires a token that acts as a user. With `dialect`, the upstream refuses too large a body in the form
    of its dialect. A `repeatable` request may be executed twice, whatever its method: if its replica hangs or
    disconnects, the request is sent to another one.
    """

    path: str
    upstream: UpstreamName
    policy: Policy
    methods: tuple[str, ...] | None = None
    users_only: bool = False
    dialect: bool = False
    repeatable: bool = False

    @functools.cached_property
    def template(self) -> bytes:
        """The path with `{}` for its variable parts. It can be logged, whereas a path could contain a secret."""
        return re.sub(r"\{[^/]*\}", "{}", self.path).encode()


def _user_route(path: str, upstream: UpstreamName, *methods: str) -> Route:
    return Route(path, upstream, "verified", methods, users_only=True)


def _dialect_route(path: str) -> Route:
    # A refresh that is repeated returns the same successor; a login that is repeated leaves one unused session.
    return Route(path, "auth", "pass", dialect=True, repeatable=True)


ROUTES = (
    _dialect_route("/oauth/token"),
    _dialect_route("/oauth2/token"),
    _dialect_route("/oauth/revoke"),
    _dialect_route("/oauth/introspect"),
    _dialect_route("/api/oauth/access-token/v1/"),
    _dialect_route(f"/api/oauth/{{{_USER_ID}}}/verify-token/v1/"),
    Route("/.well-known/oauth-authorization-server", "auth", "pass"),
    Route("/.well-known/jwks.json", "auth", "pass"),
    _user_route("/api/v1/sessions", "auth", "GET", "HEAD", "DELETE"),
    _user_route(f"/api/v1/sessions/{{{_SESSION_ID}}}", "auth", "DELETE"),
    Route("/api/v1/users", "users", "optional", ("POST",)),
    _user_route("/api/v1/users", "users", "GET", "HEAD"),
    _user_route("/api/v1/users/me", "users", "GET", "HEAD"),
    _user_route(f"/api/v1/users/{{{_USER_ID}}}", "users", "GET", "HEAD", "PATCH", "DELETE"),
    _user_route(f"/api/v1/users/{{{_USER_ID}}}/password", "users", "POST"),
)


def _expression(path: str) -> re.Pattern[bytes]:
    parts = re.split(r"\{([^/]*)\}", path)
    text = "".join(f"(?:{part})" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile(text.encode())


_FIXED = {
    route.path.encode(): tuple(other for other in ROUTES if other.path == route.path)
    for route in ROUTES
    if "{" not in route.path
}
_VARYING = tuple((_expression(route.path), (route,)) for route in ROUTES if "{" in route.path)


def match(method: bytes, path: bytes) -> Route:
    """The route of a request. Raises RefusedError."""
    known = _FIXED.get(path)
    if known is None:
        check_path(path)
        known = next((routes for expression, routes in _VARYING if expression.fullmatch(path)), None)
        if known is None:
            raise refusals.no_route()
    for route in known:
        if route.methods is None or method.decode() in route.methods:
            return route
    raise refusals.method_not_allowed(", ".join(name for route in known for name in route.methods or ()))
