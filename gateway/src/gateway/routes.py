"""The public API: every path that can be reached, where it leads, and what a request needs to get there."""

import re
from dataclasses import dataclass
from typing import Literal

Upstream = Literal["auth", "users"]
Policy = Literal["pass", "verified", "optional"]

ORDINARY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_USER_ID = r"[0-9]{1,19}"
_SESSION_ID = r"[0-9a-f]{16}|current"


class NoRouteError(Exception):
    """The path is not in the public API."""


class MethodNotAllowedError(Exception):
    """The path is, but not with this method. `allow` is the value of the `Allow` header."""

    def __init__(self, allow: str) -> None:
        super().__init__(allow)
        self.allow = allow


@dataclass(frozen=True)
class Route:
    """One row of the table.

    `path` has a regular expression in each pair of braces and matches the path as it was sent, nothing decoded.
    `policy`: `pass` leaves the client's `Authorization` as it is, `verified` needs a token and swaps it for an internal
    one, `optional` does so where one was sent. `methods` None leaves it to the upstream to answer 405 in its dialect.
    `users_only` asks for a token that acts as a user.
    """

    path: str
    upstream: Upstream
    policy: Policy
    methods: tuple[str, ...] | None = None
    users_only: bool = False

    @property
    def template(self) -> str:
        """The path with `{}` for what varies: fit for a log, where a path may carry a secret."""
        return re.sub(r"\{[^/]*\}", "{}", self.path)


def _user_route(path: str, upstream: Upstream, *methods: str) -> Route:
    return Route(path, upstream, "verified", methods, users_only=True)


ROUTES = (
    Route("/oauth/token", "auth", "pass"),
    Route("/oauth2/token", "auth", "pass"),
    Route("/oauth/revoke", "auth", "pass"),
    Route("/oauth/introspect", "auth", "pass"),
    Route("/api/oauth/access-token/v1/", "auth", "pass"),
    Route(f"/api/oauth/{{{_USER_ID}}}/verify-token/v1/", "auth", "pass"),
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


def _expression(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{([^/]*)\}", path)
    return re.compile("".join(f"(?:{part})" if number % 2 else re.escape(part) for number, part in enumerate(parts)))


_TABLE = tuple((_expression(route.path), route) for route in ROUTES)


def match(method: str, path: str) -> Route:
    """The route of a request. Raises NoRouteError or MethodNotAllowedError."""
    known = [route for expression, route in _TABLE if expression.fullmatch(path)]
    if not known:
        raise NoRouteError
    for route in known:
        if route.methods is None or method in route.methods:
            return route
    raise MethodNotAllowedError(", ".join(name for route in known for name in route.methods or ()))
