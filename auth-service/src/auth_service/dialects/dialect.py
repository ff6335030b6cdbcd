"""The form of every dialect: its paths, its token formats, how it reads a token request and how it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web

from auth_service.core.clients import Defaults
from auth_service.core.errors import (
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    OAuthError,
    TooManyRequestsError,
)
from auth_service.core.model import TokenRequest, TokenResponse
from auth_service.core.tokens.formats import TokenFormats
from auth_service.core.verification import Verifier
from servicekit import http, internal_tokens, wire

REALM = "parley"
CHARSET = "application/json; charset=utf-8"

# Section 5.2; a dialect whose document differs has a table of its own.
RFC6749_STATUSES = {
    "invalid_request": 400,
    "invalid_client": 401,
    "invalid_grant": 400,
    "unauthorized_client": 400,
    "unsupported_grant_type": 400,
    "invalid_scope": 400,
    "too_many_requests": 429,
    "temporarily_unavailable": 503,
}

Parameters = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Preferences:
    """The client's preferences for the form of an answer: the values of three headers, empty if missing."""

    accept: str = ""
    accept_language: str = ""
    language: str = ""

    HEADERS = "Accept, Accept-Language, language"

    @classmethod
    def of(cls, request: web.Request) -> "Preferences":
        headers = request.headers
        return cls(headers.get(hdrs.ACCEPT, ""), headers.get(hdrs.ACCEPT_LANGUAGE, ""), headers.get("language", ""))


def _no_routes(_verifier: Verifier) -> list[web.RouteDef]:
    return []


@dataclass(frozen=True)
class Dialect:
    """One wire API.

    `paths` are those of its token endpoint; clients of any dialect may use any of them. `render_error(error, status,
    preferences)` is the token endpoint's reply to an error; `status` is an HTTP status that says more than the error
    does (408, 413), or None. `render_deny(error, preferences)` is the reply to a bearer token that does not verify: 401
    with the challenge. `render_method_not_allowed(allow)` is the reply to other methods at those of its paths that no
    earlier dialect has. `is_preferred` tells from the preferences whether a request without a token is in this dialect.
    `routes` are additional paths of its own.
    """

    name: str
    paths: tuple[str, ...]
    formats: TokenFormats
    defaults: Defaults
    read_token_request: Callable[[Parameters], TokenRequest]
    render_token: Callable[[TokenResponse], web.Response]
    render_error: Callable[[OAuthError, int | None, Preferences], web.Response]
    render_deny: Callable[[OAuthError, Preferences], web.Response]
    render_method_not_allowed: Callable[[str], web.Response]
    is_preferred: Callable[[Preferences], bool] = lambda _preferences: False
    routes: Callable[[Verifier], list[web.RouteDef]] = _no_routes


def token_request(parameters: Parameters, *, login: str = "username", login_type: str = "any") -> TokenRequest:
    """Read RFC 6749's parameters; `login` is the dialect's own name for the login name."""
    return TokenRequest(
        grant_type=parameters.get("grant_type", ""),
        scope=parameters.get("scope", ""),
        username=parameters.get(login, ""),
        password=parameters.get("password", ""),
        refresh_token=parameters.get("refresh_token", ""),
        parameters=parameters,
        login_type=login_type,
    )


def reply(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = CHARSET
) -> web.Response:
    """A reply that must not be stored, in JSON, or in MessagePack if that is `content_type`."""
    return web.Response(
        body=wire.encode(body, content_type),
        status=status,
        headers={**http.NO_STORE, **(headers or {}), hdrs.CONTENT_TYPE: content_type},
    )


def status_of(error: OAuthError, statuses: Mapping[str, int], status: int | None) -> int:
    """The HTTP status of an error: `status` for a malformed request if there is one, else the dialect's."""
    return status if status is not None and isinstance(error, InvalidRequestError) else statuses[error.code]


def error_headers(error: OAuthError) -> dict[str, str]:
    """The headers of a token endpoint's error in every dialect (RFC 6749 section 5.2)."""
    if error.code == "invalid_client":
        return {hdrs.WWW_AUTHENTICATE: f'Basic realm="{REALM}", charset="UTF-8"'}
    if isinstance(error, TooManyRequestsError):
        return {hdrs.RETRY_AFTER: str(error.retry_after)}
    return http.RETRY_AFTER if error.code == "temporarily_unavailable" else {}


def challenge(error: OAuthError) -> dict[str, str]:
    """The `WWW-Authenticate` header for a denied token, without an error if there was none (RFC 6750 section 3)."""
    if isinstance(error, MissingTokenError):
        return {hdrs.WWW_AUTHENTICATE: f'Bearer realm="{REALM}"'}
    described = 'error="invalid_token", error_description="The access token is invalid."'
    return {hdrs.WWW_AUTHENTICATE: f'Bearer realm="{REALM}", {described}'}


def bearer_token(request: web.Request) -> str:
    """The access token of the `Authorization` header (RFC 6750 section 2.1).

    Raises MissingTokenError if there is no bearer header, InvalidTokenError if it is malformed or given twice.
    """
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not any(value.strip().lower().partition(" ")[0] == "bearer" for value in values):
        raise MissingTokenError
    token = internal_tokens.bearer(request)
    if token is None:
        raise InvalidTokenError
    return token
