"""The errors of the core, with the codes of RFC 6749, 6750 and 7009. Each dialect maps them to HTTP statuses."""

from typing import ClassVar


class OAuthError(Exception):
    """An error that the client is told. Its description is ours and never quotes the request."""

    code: ClassVar[str]
    default_description: ClassVar[str]

    def __init__(self, description: str | None = None) -> None:
        self.description = description or self.default_description
        super().__init__(self.description)


class InvalidRequestError(OAuthError):
    code = "invalid_request"
    default_description = "The request is malformed."


class InvalidClientError(OAuthError):
    code = "invalid_client"
    default_description = "Client authentication failed."


class InvalidGrantError(OAuthError):
    code = "invalid_grant"
    default_description = (
        "The provided authorization grant is invalid, expired, revoked or was issued to another client."
    )


class InvalidCredentialsError(InvalidGrantError):
    """The password grant is refused, in the same way for an unknown user, a wrong password and a disabled user."""


class RefreshTokenReusedError(InvalidGrantError):
    """A refresh token was used again after its grace period; its session has been ended."""

    def __init__(self, session_id: int) -> None:
        super().__init__()
        self.session_id = session_id


class UnauthorizedClientError(OAuthError):
    code = "unauthorized_client"
    default_description = "The client may not use this grant type."


class UnsupportedGrantTypeError(OAuthError):
    code = "unsupported_grant_type"
    default_description = "The grant type is not supported."


class InvalidScopeError(OAuthError):
    code = "invalid_scope"
    default_description = "The requested scope is invalid, unknown or exceeds what may be granted."


class InvalidTokenError(OAuthError):
    """An access token that does not verify (RFC 6750 section 3.1)."""

    code = "invalid_token"
    default_description = "The access token is invalid."


class ExpiredTokenError(InvalidTokenError):
    """An access token of ours that has expired; only some dialects report this separately."""


class MissingTokenError(InvalidTokenError):
    """The request has no access token, so the challenge carries no error code."""


class TooManyRequestsError(OAuthError):
    """A budget is used up (RFC 6585 section 4); there is no registered code for this. `retry_after` is in seconds."""

    code = "too_many_requests"
    default_description = "There were too many attempts; try again later."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class UnavailableError(OAuthError):
    """A failure of ours. It says nothing about the request, so it must never invalidate the client's tokens.

    The cause is only for the log: our inner workings are none of the client's business.
    """

    code = "temporarily_unavailable"
    default_description = "The server cannot answer now; try again."

    def __init__(self, cause: str | None = None) -> None:
        super().__init__()
        self._cause = cause

    def __str__(self) -> str:
        return self._cause or self.description


class UnknownKeyError(UnavailableError):
    """No known key signed the token; a new key that has not been read yet may have signed it."""


class CallerLeftError(UnavailableError):
    """The caller has hung up. Other services may have carried out what they were asked nevertheless."""


class StaleClientError(Exception):
    """The registration on which a decision was based has changed since it was read; the decision must be made again."""
