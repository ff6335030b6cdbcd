"""`/verify-token` for the gateway, internal services and other proxies: it answers allow, deny or unknown.

`examples/proxies/` has configurations for nginx, Caddy, Traefik and Envoy. Envoy uses the method of the client's
request and appends its path, so any method and any path below `/verify-token` is accepted.
"""

from collections.abc import Mapping
from typing import Protocol

from aiohttp import hdrs, web

from auth_service.core import scope
from auth_service.core.errors import InvalidTokenError, UnavailableError, UnknownKeyError
from auth_service.core.model import ActiveToken, session_name
from auth_service.core.verification import Verifier
from auth_service.dialects.dialect import Dialect, Preferences, bearer_token, reply
from servicekit import http, known_keys, wire

PATH = "/verify-token"
VARY = f"Authorization, {Preferences.HEADERS}"  # a cache of denials is keyed by these headers


class InternalTokens(Protocol):
    def for_token(self, active: ActiveToken) -> str:
        """An internal token for the user or client that this access token acts for."""


class VerificationEndpoint:
    """Tells whether a bearer token is accepted now. The first dialect is the standard one."""

    def __init__(self, verifier: Verifier, internal_tokens: InternalTokens, dialects: Mapping[str, Dialect]) -> None:
        self._verifier = verifier
        self._internal_tokens = internal_tokens
        self._dialects = dialects

    def routes(self) -> list[web.RouteDef]:
        return [web.route(hdrs.METH_ANY, path, self.handle) for path in (PATH, f"{PATH}/{{path:.*}}")]

    async def handle(self, request: web.Request) -> web.Response:
        preferences = Preferences.of(request)
        token = None
        try:
            token = await _presented_token(request)
            active = await self._verifier.verify(token)
        except InvalidTokenError as error:
            response = self._dialect(token, preferences).render_deny(error, preferences)
            response.headers[hdrs.VARY] = VARY
            return response
        except UnknownKeyError as error:
            raise known_keys.UnknownKeyError from error
        except UnavailableError as error:
            raise http.ServiceUnavailableError("the verdict is unknown") from error
        return self._allow(active)

    def _dialect(self, token: str | None, preferences: Preferences) -> Dialect:
        """The dialect whose tokens look like this one, else one that the preferences suggest, else the standard one."""
        name = self._verifier.dialect_of(token) if token is not None else None
        if name is not None:
            return self._dialects[name]
        standard, *others = self._dialects.values()
        return next((dialect for dialect in others if dialect.is_preferred(preferences)), standard)

    def _allow(self, active: ActiveToken) -> web.Response:
        internal_token = self._internal_tokens.for_token(active)
        facts: dict[str, str | int] = {"sub": active.internal_subject}
        if active.user_id is not None:
            facts["user_id"] = active.user_id
        facts |= {
            "client_id": active.client_id,
            "scope": scope.join(active.scope),
            "exp": int(active.expires_at),
            "expires_in": int(active.expires_at - active.now),
            "sid": session_name(active.session_id),
            "dialect": active.dialect,
            "token_type": "Bearer",
        }
        headers = {hdrs.AUTHORIZATION: f"Bearer {internal_token}", **_as_headers(facts)}
        return reply({"active": True, **facts, "internal_token": internal_token}, headers=headers)


def _as_headers(facts: Mapping[str, object]) -> dict[str, str]:
    """The facts as `X-Parley-…` headers, without empty ones: proxies differ in how they treat an empty header."""
    return {f"X-Parley-{name.replace('_', '-').title()}": str(value) for name, value in facts.items() if value != ""}


async def _presented_token(request: web.Request) -> str:
    """The token of the `Authorization` header, or of `{"token": …}` posted to `/verify-token` itself.

    On a path below it, the body belongs to the client's own request, which a proxy is asking about.
    """
    posted = request.method == hdrs.METH_POST and request.path == PATH
    if posted and hdrs.AUTHORIZATION not in request.headers and request.body_exists:
        token = (await http.read_object(request, (wire.JSON,))).get("token")
        if not isinstance(token, str):
            raise wire.MalformedBodyError("token is missing")
        return token
    return bearer_token(request)
