"""A Rails app with doorkeeper-jwt: HS512 tokens signed with the client's own secret, so that it can check them."""

from typing import Any

from aiohttp import web

from auth_service.core.clients import Defaults
from auth_service.core.model import TokenResponse
from auth_service.core.tokens.client_signed import ClientSignedFormat
from auth_service.core.tokens.formats import AccessToken, TokenFormats
from auth_service.core.tokens.refresh import RefreshTokenEncoding
from auth_service.dialects import oauth_errors
from auth_service.dialects.dialect import Dialect, reply, token_request

# The `iss` of the original API, with which its clients may compare.
ISSUER = "rails_api_template"


def claims(token: AccessToken, token_id: str) -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "iat": token.issued_at,
        "jti": token_id,
        "user": {"id": token.session.user_id, "email": token.session.email},
    }


def render_token(token: TokenResponse) -> web.Response:
    body: dict[str, object] = {
        "access_token": token.access_token,
        "token_type": "bearer",
        "expires_in": token.expires_in,
    }
    if token.refresh_token is not None:
        body["refresh_token"] = token.refresh_token
    body["created_at"] = int(token.issued_at)
    if token.user_id is not None:
        body["user_id"] = token.user_id
    return reply(body)


DIALECT = Dialect(
    name="doorkeeper_jwt",
    paths=("/oauth/token",),
    formats=TokenFormats(
        access_token=ClientSignedFormat(
            algorithm="HS512",
            header=lambda client_id: {"typ": "JWT", "alg": "HS512", "kid": client_id},
            claims=claims,
            needs_email=True,
        ),
        refresh_token=RefreshTokenEncoding("hex", mac_bytes=20),
    ),
    defaults=Defaults(grant_types=frozenset({"password", "refresh_token"}), access_token_lifetime=7200),
    read_token_request=token_request,
    render_token=render_token,
    render_error=oauth_errors.render_error,
    render_deny=oauth_errors.render_deny,
    render_method_not_allowed=oauth_errors.render_method_not_allowed,
)
