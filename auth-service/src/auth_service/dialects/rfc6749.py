"""The standard: RFC 6749 token endpoint, RFC 9068 access tokens, ES256."""

from typing import Any

from aiohttp import web

from auth_service.core import scope
from auth_service.core.clients import Defaults
from auth_service.core.errors import InvalidTokenError
from auth_service.core.model import TokenResponse
from auth_service.core.tokens.formats import AccessToken, TokenFormats
from auth_service.core.tokens.refresh import RefreshTokenEncoding
from auth_service.core.tokens.signed import SignedFacts, SignedFormat, session_of_token_id
from auth_service.dialects import oauth_errors
from auth_service.dialects.dialect import Dialect, reply, token_request


def claims(token: AccessToken, token_id: str) -> dict[str, Any]:
    user_id = token.session.user_id
    return {
        "iss": token.issuer,
        "aud": token.issuer,
        "sub": str(user_id) if user_id is not None else f"client:{token.client.client_id}",
        "client_id": token.client.client_id,
        "scope": scope.join(token.session.access_scope),
        "iat": token.issued_at,
        "exp": token.expires_at,
        "jti": token_id,
    }


def facts(claims: dict[str, Any], issuer: str) -> SignedFacts:
    """Internal tokens are signed with the same key, so the audience must be checked (RFC 9068 section 4)."""
    if claims.get("iss") != issuer or claims.get("aud") != issuer or not isinstance(claims.get("scope"), str):
        raise InvalidTokenError
    return SignedFacts(
        session_id=session_of_token_id(claims.get("jti")),
        scope=frozenset(claims["scope"].split()),
        issued_at=claims["iat"],
        expires_at=claims["exp"],
    )


def render_token(token: TokenResponse) -> web.Response:
    body: dict[str, object] = {
        "access_token": token.access_token,
        "token_type": "Bearer",
        "expires_in": token.expires_in,
    }
    if token.refresh_token is not None:
        body["refresh_token"] = token.refresh_token
    if token.scope:
        body["scope"] = scope.join(token.scope)
    return reply(body)


DIALECT = Dialect(
    name="rfc6749",
    paths=("/oauth/token", "/oauth2/token"),
    formats=TokenFormats(
        access_token=SignedFormat(
            algorithm="ES256",
            media_type="at+jwt",
            header=lambda kid: {"typ": "at+jwt", "alg": "ES256", "kid": kid},
            claims=claims,
            facts=facts,
        ),
        refresh_token=RefreshTokenEncoding("base64url", mac_bytes=32),
    ),
    defaults=Defaults(
        grant_types=frozenset({"password", "refresh_token", "client_credentials"}), access_token_lifetime=900
    ),
    read_token_request=token_request,
    render_token=render_token,
    render_error=oauth_errors.render_error,
    render_deny=oauth_errors.render_deny,
    render_method_not_allowed=oauth_errors.render_method_not_allowed,
)
