"""A Laravel app with Passport: RS256 tokens that last a year, errors in the client's language."""

from typing import Any

from aiohttp import hdrs, web

from auth_service.core.clients import DAY, Defaults
from auth_service.core.errors import InvalidCredentialsError, InvalidTokenError, OAuthError
from auth_service.core.model import TokenResponse
from auth_service.core.tokens.formats import AccessToken, TokenFormats
from auth_service.core.tokens.refresh import RefreshTokenEncoding
from auth_service.core.tokens.signed import SignedFacts, SignedFormat, session_of_token_id
from auth_service.dialects import oauth_errors
from auth_service.dialects.dialect import (
    RFC6749_STATUSES,
    Dialect,
    Preferences,
    challenge,
    error_headers,
    reply,
    status_of,
    token_request,
)

STATUSES = RFC6749_STATUSES | {"invalid_credentials": 401}
DEFAULT_LANGUAGE = "es"
MESSAGES = {
    "es": {
        "invalid_credentials": "El nombre de usuario o la contraseña son incorrectos.",
        "invalid_request": "La solicitud no es válida.",
        "invalid_client": "La autenticación del cliente ha fallado.",
        "invalid_grant": "El token de actualización no es válido.",
        "unauthorized_client": "El cliente no puede usar este tipo de concesión.",
        "unsupported_grant_type": "El tipo de concesión no es compatible.",
        "invalid_scope": "El alcance solicitado no es válido.",
        "too_many_requests": "Demasiados intentos; inténtelo de nuevo más tarde.",
        "temporarily_unavailable": "El servidor no puede responder ahora; inténtelo de nuevo.",
        "invalid_token": "El token de acceso no es válido.",
    },
    "en": {
        "invalid_credentials": "The user name or the password is incorrect.",
        "invalid_request": "The request is not valid.",
        "invalid_client": "Client authentication failed.",
        "invalid_grant": "The refresh token is not valid.",
        "unauthorized_client": "The client may not use this grant type.",
        "unsupported_grant_type": "The grant type is not supported.",
        "invalid_scope": "The requested scope is not valid.",
        "too_many_requests": "There were too many attempts; try again later.",
        "temporarily_unavailable": "The server cannot answer now; try again.",
        "invalid_token": "The access token is not valid.",
    },
    "ru": {
        "invalid_credentials": "Неверное имя пользователя или пароль.",
        "invalid_request": "Запрос некорректен.",
        "invalid_client": "Ошибка аутентификации клиента.",
        "invalid_grant": "Токен обновления недействителен.",
        "unauthorized_client": "Клиенту не разрешён этот способ предоставления токена.",
        "unsupported_grant_type": "Способ предоставления токена не поддерживается.",
        "invalid_scope": "Запрошенные разрешения недопустимы.",
        "too_many_requests": "Слишком много попыток; повторите попытку позже.",
        "temporarily_unavailable": "Сервер сейчас не может ответить; повторите попытку.",
        "invalid_token": "Токен доступа недействителен.",
    },
}


def language(preferences: Preferences) -> str:
    """The language to answer in: that of the `language` header, else the best of `Accept-Language`, else Spanish."""
    given = preferences.language.strip().lower()[:2]
    if given in MESSAGES:
        return given
    best = max(_ranges(preferences.accept_language), default=(0.0, 0, DEFAULT_LANGUAGE))
    return best[2]


def _ranges(accept_language: str) -> list[tuple[float, int, str]]:
    """The supported languages of an `Accept-Language` header as (weight, negative position, language)."""
    ranges = []
    for position, part in enumerate(accept_language.split(",")):
        tag, _, weight = part.partition(";")
        name = tag.strip().lower()[:2]
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        if name in MESSAGES and quality > 0:
            ranges.append((quality, -position, name))
    return ranges


def claims(token: AccessToken, token_id: str) -> dict[str, Any]:
    return {
        "aud": token.client.client_id,
        "jti": token_id,
        "iat": token.issued_at,
        "nbf": token.issued_at,
        "exp": token.expires_at,
        "sub": token.session.subject,
        "scopes": sorted(token.session.access_scope),
    }


def facts(claims: dict[str, Any], _issuer: str) -> SignedFacts:
    scopes = claims.get("scopes")
    if not isinstance(scopes, list):
        raise InvalidTokenError
    return SignedFacts(
        session_id=session_of_token_id(claims.get("jti")),
        scope=frozenset(str(scope) for scope in scopes),
        issued_at=claims["iat"],
        expires_at=claims["exp"],
    )


def render_token(token: TokenResponse) -> web.Response:
    body: dict[str, object] = {
        "token_type": "Bearer",
        "expires_in": token.expires_in,
        "access_token": token.access_token,
    }
    if token.refresh_token is not None:
        body["refresh_token"] = token.refresh_token
    return reply(body)


def _render(code: str, status: int, headers: dict[str, str], preferences: Preferences) -> web.Response:
    chosen = language(preferences)
    body = {"error": code, "message": MESSAGES[chosen][code]}
    varying: dict[str, str] = {hdrs.CONTENT_LANGUAGE: chosen, hdrs.VARY: "language, Accept-Language"}
    return reply(body, status, {**headers, **varying})


def render_error(error: OAuthError, status: int | None, preferences: Preferences) -> web.Response:
    code = "invalid_credentials" if isinstance(error, InvalidCredentialsError) else error.code
    chosen = STATUSES[code] if code == "invalid_credentials" else status_of(error, STATUSES, status)
    return _render(code, chosen, error_headers(error), preferences)


def render_deny(error: OAuthError, preferences: Preferences) -> web.Response:
    return _render("invalid_token", 401, challenge(error), preferences)


DIALECT = Dialect(
    name="passport",
    paths=("/oauth/token",),
    formats=TokenFormats(
        access_token=SignedFormat(
            algorithm="RS256",
            media_type="jwt",
            header=lambda kid: {"typ": "JWT", "alg": "RS256", "kid": kid},
            claims=claims,
            facts=facts,
        ),
        refresh_token=RefreshTokenEncoding("base64url", mac_bytes=32),
    ),
    defaults=Defaults(
        grant_types=frozenset({"password", "refresh_token"}),
        access_token_lifetime=365 * DAY,
        session_lifetime=2 * 365 * DAY,
    ),
    read_token_request=token_request,
    render_token=render_token,
    render_error=render_error,
    render_deny=render_deny,
    render_method_not_allowed=oauth_errors.render_method_not_allowed,
    is_preferred=lambda preferences: bool(preferences.language),
)
