"""A custom API with scopes for signing up and for acting as a user, and opaque tokens of 40 characters."""

from aiohttp import web

from auth_service.core import scope
from auth_service.core.clients import DAY, Defaults
from auth_service.core.model import TokenResponse
from auth_service.core.tokens.formats import TokenFormats
from auth_service.core.tokens.opaque import OpaqueFormat
from auth_service.core.tokens.refresh import RefreshTokenEncoding
from auth_service.dialects import oauth_errors
from auth_service.dialects.dialect import Dialect, reply, token_request


def render_token(token: TokenResponse) -> web.Response:
    body: dict[str, object] = {
        "access_token": token.access_token,
        "expires_in": token.expires_in,
        "token_type": "Bearer",
        "scope": scope.join(token.scope),
    }
    if token.refresh_token is not None:
        body["refresh_token"] = token.refresh_token
    return reply(body, content_type="application/json; charset=UTF-8")


DIALECT = Dialect(
    name="cubux",
    paths=("/oauth2/token",),
    formats=TokenFormats(
        access_token=OpaqueFormat(length=40),
        refresh_token=RefreshTokenEncoding("base64url", mac_bytes=18),
    ),
    defaults=Defaults(
        grant_types=frozenset({"password", "refresh_token", "client_credentials"}),
        access_token_lifetime=DAY,
        scope=frozenset({"SignUp", "UserActivity"}),
    ),
    read_token_request=token_request,
    render_token=render_token,
    render_error=oauth_errors.render_error,
    render_deny=oauth_errors.render_deny,
    render_method_not_allowed=oauth_errors.render_method_not_allowed,
)
