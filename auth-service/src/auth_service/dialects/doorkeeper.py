"""A Rails app with Doorkeeper: no client in the request, opaque tokens, MessagePack except in token requests."""

from aiohttp import web

from auth_service.core.clients import Defaults
from auth_service.core.errors import ExpiredTokenError, OAuthError
from auth_service.core.model import TokenResponse
from auth_service.core.tokens.formats import TokenFormats
from auth_service.core.tokens.opaque import OpaqueFormat
from auth_service.core.tokens.refresh import RefreshTokenEncoding
from auth_service.dialects import oauth_errors
from auth_service.dialects.dialect import (
    CHARSET,
    RFC6749_STATUSES,
    Dialect,
    Preferences,
    challenge,
    error_headers,
    reply,
    status_of,
    token_request,
)
from servicekit import wire

STATUSES = RFC6749_STATUSES | {"invalid_grant": 401}
INVALID_GRANT = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the "
    "authorization request, or was issued to another client."
)
INVALID_TOKEN = "The access token is invalid"
EXPIRED_TOKEN = "The access token expired"


def render_token(token: TokenResponse) -> web.Response:
    body: dict[str, object] = {
        "access_token": token.access_token,
        "token_type": "bearer",
        "expires_in": token.expires_in,
    }
    if token.refresh_token is not None:
        body["refresh_token"] = token.refresh_token
    body["created_at"] = int(token.issued_at)
    return reply(body)


def render_error(error: OAuthError, status: int | None, _preferences: Preferences) -> web.Response:
    message = INVALID_GRANT if error.code == "invalid_grant" else error.description
    body = {"error": error.code, "error_message": message}
    return reply(body, status_of(error, STATUSES, status), error_headers(error))


def render_deny(error: OAuthError, preferences: Preferences) -> web.Response:
    """Denials are in MessagePack if the client asks for it: only token requests are always JSON."""
    body = {"error": EXPIRED_TOKEN if isinstance(error, ExpiredTokenError) else INVALID_TOKEN}
    return reply(body, 401, challenge(error), wire.accepted_msgpack(preferences.accept) or CHARSET)


DIALECT = Dialect(
    name="doorkeeper",
    paths=("/oauth/token",),
    formats=TokenFormats(
        access_token=OpaqueFormat(length=64),
        refresh_token=RefreshTokenEncoding("hex", mac_bytes=20),
    ),
    defaults=Defaults(grant_types=frozenset({"password", "refresh_token"}), access_token_lifetime=7200),
    read_token_request=lambda parameters: token_request(parameters, login="login"),
    render_token=render_token,
    render_error=render_error,
    render_deny=render_deny,
    render_method_not_allowed=oauth_errors.render_method_not_allowed,
    is_preferred=lambda preferences: bool(wire.accepted_msgpack(preferences.accept)),
)
