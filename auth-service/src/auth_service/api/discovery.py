"""Authorization server metadata (RFC 8414) and the JWK set (RFC 7517)."""

from collections.abc import Iterable
from typing import Any, Protocol

from aiohttp import hdrs, web

from auth_service.api.revocation import INTROSPECTION_PATH, REVOCATION_PATH
from servicekit import wire

METADATA_PATH = "/.well-known/oauth-authorization-server"
JWKS_PATH = "/.well-known/jwks.json"
_CACHEABLE = {hdrs.CACHE_CONTROL: "public, max-age=60"}
_METHODS = ["client_secret_basic", "client_secret_post"]


def metadata(issuer: str, grant_types: Iterable[str]) -> dict[str, Any]:
    """The metadata that a standard client needs (RFC 8414 section 2)."""
    return {
        "issuer": issuer,
        "token_endpoint": issuer + "/oauth/token",
        "revocation_endpoint": issuer + REVOCATION_PATH,
        "introspection_endpoint": issuer + INTROSPECTION_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "grant_types_supported": sorted(grant_types),
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": [*_METHODS, "none"],
        "revocation_endpoint_auth_methods_supported": [*_METHODS, "none"],
        "introspection_endpoint_auth_methods_supported": _METHODS,
    }


class PublishedKeys(Protocol):
    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK set."""

    @property
    def age(self) -> float:
        """Seconds since the keys were read."""


def routes(document: dict[str, Any], keys: PublishedKeys) -> list[web.RouteDef]:
    """Both documents may be cached for a minute; a new key is usually published for longer before it signs."""

    def respond(body: dict[str, Any]) -> web.Response:
        headers = {**_CACHEABLE, hdrs.CONTENT_TYPE: "application/json; charset=utf-8"}
        return web.Response(body=wire.encode(body), headers=headers)

    async def get_metadata(_request: web.Request) -> web.Response:
        return respond(document)

    async def get_jwks(_request: web.Request) -> web.Response:
        response = respond(keys.jwks())
        response.headers[hdrs.AGE] = str(int(keys.age))
        return response

    return [web.get(METADATA_PATH, get_metadata), web.get(JWKS_PATH, get_jwks)]
