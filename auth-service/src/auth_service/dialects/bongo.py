"""A custom API with phone numbers: 201 for a token, five fields for an error, and a path that verifies a token."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import hdrs, web

from auth_service.core.clients import DAY, Defaults
from auth_service.core.errors import (
    InvalidGrantError,
    InvalidRequestError,
    InvalidTokenError,
    OAuthError,
    UnavailableError,
)
from auth_service.core.model import TokenResponse
from auth_service.core.tokens.formats import AccessToken, TokenFormats
from auth_service.core.tokens.signed import SignedFacts, SignedFormat, session_of_token_id
from auth_service.core.verification import Verifier
from auth_service.dialects.dialect import (
    RFC6749_STATUSES,
    Dialect,
    Preferences,
    bearer_token,
    challenge,
    error_headers,
    reply,
    status_of,
    token_request,
)
from servicekit import http, wire

STATUSES = RFC6749_STATUSES | {"invalid_grant": 401}
CONTENT_TYPE = "application/json"
WRONG_PASSWORD = "Wrong password"


def claims(token: AccessToken, token_id: str) -> dict[str, Any]:
    """`created` is in milliseconds, as the API's document gives it; a JWT's `iat` is in whole seconds."""
    return {
        "user_id": token.session.user_id,
        "iat": token.issued_at,
        "exp": token.expires_at,
        "jti": token_id,
        "created": round(token.session.now * 1000),
        "scope": sorted(token.session.access_scope),
    }


def facts(claims: dict[str, Any], _issuer: str) -> SignedFacts:
    scope, created = claims.get("scope"), claims.get("created")
    if not isinstance(scope, list) or not isinstance(created, int):
        raise InvalidTokenError
    return SignedFacts(
        session_id=session_of_token_id(claims.get("jti")),
        scope=frozenset(scope),
        issued_at=created / 1000,
        expires_at=claims["exp"],
    )


def result(access_token: str, user_id: int | None, issued_at: float) -> dict[str, Any]:
    """The object that describes a token, whether it is new or verified."""
    created = (
        datetime.fromtimestamp(round(issued_at * 1000) / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return {"access_token": access_token, "user_id": user_id, "date_created": created}


def render_token(token: TokenResponse) -> web.Response:
    body = {
        "message": "Token created successfully",
        "result": result(token.access_token, token.user_id, token.issued_at),
        "status": 201,
    }
    return reply(body, 201, content_type=CONTENT_TYPE)


def _error(status: int, code: str, message: str, headers: dict[str, str]) -> web.Response:
    body = {"message": message, "display_message": message, "status": status, "error": code, "causes": None}
    return reply(body, status, headers, CONTENT_TYPE)


def render_error(error: OAuthError, status: int | None, _preferences: Preferences) -> web.Response:
    if isinstance(error, InvalidGrantError):
        return _error(401, "unauthorized", WRONG_PASSWORD, {})
    return _error(status_of(error, STATUSES, status), error.code, error.description, error_headers(error))


def render_deny(error: OAuthError, _preferences: Preferences) -> web.Response:
    return _error(401, "unauthorized", InvalidTokenError.default_description, challenge(error))


def render_method_not_allowed(allow: str) -> web.Response:
    """The answer to any other method, according to the API's document: HTML without a body."""
    return web.Response(status=405, headers={hdrs.ALLOW: allow, hdrs.CONTENT_TYPE: "text/html;charset=utf-8"})


def routes(verifier: Verifier) -> list[web.RouteDef]:
    """The path that verifies a token from the `Authorization` header or from a posted `{"access_token": …}`."""

    async def verify(request: web.Request) -> web.Response:
        preferences = Preferences.of(request)
        if request.method not in ("GET", "POST"):
            return render_method_not_allowed("GET, POST")
        try:
            token = await _presented_token(request)
            active = await verifier.verify(token)
            if active.dialect != DIALECT.name or str(active.user_id) != request.match_info["user_id"]:
                raise InvalidTokenError("The access token belongs to another user.")
        except wire.MalformedBodyError as error:
            return render_error(InvalidRequestError(), error.status if error.status != 422 else 400, preferences)
        except UnavailableError as error:
            return render_error(error, None, preferences)
        except InvalidTokenError as error:
            return _error(401, "unauthorized", error.description, challenge(error))
        return reply(
            {"result": result(token, active.user_id, active.issued_at), "status": 200}, content_type=CONTENT_TYPE
        )

    return [web.route("*", "/api/oauth/{user_id:[0-9]{1,19}}/verify-token/v1/", verify)]


async def _presented_token(request: web.Request) -> str:
    """Raises MissingTokenError, InvalidTokenError or `wire.MalformedBodyError`."""
    if request.method == "GET" or hdrs.AUTHORIZATION in request.headers:
        return bearer_token(request)
    token = (await http.read_object(request, (wire.JSON,))).get("access_token")
    if not isinstance(token, str):
        raise wire.MalformedBodyError("access_token is missing")
    return token


DIALECT = Dialect(
    name="bongo",
    paths=("/api/oauth/access-token/v1/",),
    formats=TokenFormats(
        access_token=SignedFormat(
            algorithm="HS256",
            media_type="jwt",
            # The header in the API's document has no kid, so a token is tried with every HS256 key that exists.
            header=lambda _kid: {"alg": "HS256", "typ": "JWT"},
            claims=claims,
            facts=facts,
        ),
        refresh_token=None,
    ),
    defaults=Defaults(grant_types=frozenset({"password"}), access_token_lifetime=DAY),
    read_token_request=lambda parameters: token_request(parameters, login="phone_number", login_type="phone_number"),
    render_token=render_token,
    render_error=render_error,
    render_deny=render_deny,
    render_method_not_allowed=render_method_not_allowed,
    routes=routes,
)
