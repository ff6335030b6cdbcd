"""Errors in the words of RFC 6749 and 6750, for the dialects whose documents have no words of their own."""

from aiohttp import web

from auth_service.core.errors import InvalidTokenError, MissingTokenError, OAuthError
from auth_service.dialects.dialect import RFC6749_STATUSES, Words, challenge, error_headers, reply, status_of


def render_error(error: OAuthError, status: int | None, _words: Words) -> web.Response:
    body = {"error": error.code, "error_description": error.description}
    return reply(body, status_of(error, RFC6749_STATUSES, status), error_headers(error))


def render_deny(error: OAuthError, _words: Words) -> web.Response:
    """One wording for every cause (RFC 6750 section 3.1); none where no token was sent."""
    if isinstance(error, MissingTokenError):
        return reply({}, 401, challenge(error))
    body = {"error": InvalidTokenError.code, "error_description": InvalidTokenError.default_description}
    return reply(body, 401, challenge(error))
