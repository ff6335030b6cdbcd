"""Every error of the core is rendered in each dialect's own words, with the status and headers that it must have."""

import re

import msgspec
import pytest

from auth_service.app import DIALECTS
from auth_service.core import errors
from auth_service.dialects.dialect import Preferences

from .test_database_away import FIELDS
from .test_verdicts import CHALLENGE, DENIED


def subclasses(error):
    return {error, *(found for child in error.__subclasses__() for found in subclasses(child))}


TOKEN_ERRORS = subclasses(errors.InvalidTokenError)
REQUEST_ERRORS = sorted(
    subclasses(errors.OAuthError) - TOKEN_ERRORS - {errors.OAuthError}, key=lambda error: error.__name__
)
STATUSES = {
    "invalid_request": 400,
    "invalid_client": 401,
    "invalid_grant": 400,
    "unauthorized_client": 400,
    "unsupported_grant_type": 400,
    "invalid_scope": 400,
    "too_many_requests": 429,
    "temporarily_unavailable": 503,
}
# Deviations in the dialects' documents: (status, code).
LITERAL = {
    ("doorkeeper", "invalid_grant"): (401, "invalid_grant"),
    ("bongo", "invalid_grant"): (401, "unauthorized"),
    ("passport", "InvalidCredentialsError"): (401, "invalid_credentials"),
}
DOORKEEPER_INVALID_GRANT = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the "
    "authorization request, or was issued to another client."
)
DESCRIPTION = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")


def decoded(response):
    return msgspec.json.decode(response.body)


def an(error):
    if error in (errors.RefreshTokenReusedError, errors.TooManyRequestsError):
        return error(7)
    return error("not for a client", 413) if error.__name__ == "UnreadableRequestError" else error()


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("error", REQUEST_ERRORS)
def test_every_error_of_a_token_endpoint(dialect, error):
    response = DIALECTS[dialect].render_error(an(error), None, Preferences())
    reply = decoded(response)
    default = (STATUSES[error.code], error.code)
    expected = LITERAL.get((dialect, error.__name__)) or LITERAL.get((dialect, error.code)) or default
    assert (response.status, reply["error"]) == expected
    assert set(reply) == FIELDS[dialect]
    assert (response.headers["Cache-Control"], response.headers["Pragma"]) == ("no-store", "no-cache")
    assert response.headers["Content-Type"].startswith("application/json")
    retry_after = {"temporarily_unavailable": "1", "too_many_requests": "7"}
    assert response.headers.get("Retry-After") == retry_after.get(error.code)
    challenge = 'Basic realm="parley", charset="UTF-8"' if error.code == "invalid_client" else None
    assert response.headers.get("WWW-Authenticate") == challenge
    if dialect in ("rfc6749", "doorkeeper_jwt", "cubux"):
        assert DESCRIPTION.fullmatch(reply["error_description"])


@pytest.mark.parametrize("status", [408, 413])
@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_a_transport_s_status_is_for_malformed_requests_only(dialect, status):
    render = DIALECTS[dialect].render_error
    assert render(errors.InvalidRequestError(), status, Preferences()).status == status
    assert render(errors.UnavailableError(), status, Preferences()).status == 503


def test_the_documents_literal_words():
    invalid_grant = errors.InvalidCredentialsError()
    doorkeeper = DIALECTS["doorkeeper"].render_error(invalid_grant, None, Preferences())
    assert decoded(doorkeeper) == {"error": "invalid_grant", "error_message": DOORKEEPER_INVALID_GRANT}
    bongo = DIALECTS["bongo"].render_error(invalid_grant, None, Preferences())
    assert bongo.body == (
        b'{"message":"Wrong password","display_message":"Wrong password",'
        b'"status":401,"error":"unauthorized","causes":null}'
    )


@pytest.mark.parametrize("language", ["es", "en", "ru"])
@pytest.mark.parametrize("error", [*REQUEST_ERRORS, errors.InvalidTokenError])
def test_passport_has_words_for_every_error_in_every_language(error, language):
    dialect, words = DIALECTS["passport"], Preferences(language=language)
    token_error = error is errors.InvalidTokenError
    response = dialect.render_deny(an(error), words) if token_error else dialect.render_error(an(error), None, words)
    others = [other for other in ("es", "en", "ru") if other != language]
    message = decoded(response)["message"]
    assert response.headers["Content-Language"] == language
    assert len(message) > 10
    for other in others:
        elsewhere = Preferences(language=other)
        response = (
            dialect.render_deny(an(error), elsewhere)
            if token_error
            else dialect.render_error(an(error), None, elsewhere)
        )
        assert decoded(response)["message"] != message


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("error", sorted(TOKEN_ERRORS, key=lambda error: error.__name__))
def test_every_denied_token(dialect, error):
    response = DIALECTS[dialect].render_deny(error(), Preferences())
    assert response.status == 401
    assert (response.headers["Cache-Control"], response.headers["Pragma"]) == ("no-store", "no-cache")
    assert "Retry-After" not in response.headers
    if error is errors.MissingTokenError:
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="parley"'
        return
    assert response.headers["WWW-Authenticate"] == CHALLENGE
    expired = {"error": "The access token expired"}
    told_apart = dialect == "doorkeeper" and error is errors.ExpiredTokenError
    assert decoded(response) == (expired if told_apart else DENIED[dialect])
