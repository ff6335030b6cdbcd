"""Errors in the form of RFC 6749 and 6750, for dialects whose documents define none of their own."""

from aiohttp import hdrs, web

from auth_service.core.errors import InvalidRequestError, InvalidTokenError, MissingTokenError, OAuthError
from auth_service.dialects.dialect import RFC6749_STATUSES, Preferences, challenge, error_headers, reply, status_of


def render_error(error: OAuthError, status: int | None, _preferences: Preferences) -> web.Response:
    body = {"error": error.code, "error_description": error.description}
    return reply(body, status_of(error, RFC6749_STATUSES, status), error_headers(error))


def render_deny(error: OAuthError, _preferences: Preferences) -> web.Response:
    """The same error for every cause (RFC 6750 section 3.1), and no error if no token was sent."""
    if isinstance(error, MissingTokenError):
        return reply({}, 401, challenge(error))
    body = {"error": InvalidTokenError.code, "error_description": InvalidTokenError.default_description}
    return reply(body, 401, challenge(error))


def render_method_not_allowed(allow: str) -> web.Response:
    error = InvalidRequestError(f"The token endpoint takes {allow} requests only.")
    response = render_error(error, 405, Preferences())
    response.headers[hdrs.ALLOW] = allow
    return response
