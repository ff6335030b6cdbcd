"""Proof that the caller is the user, for requests that need more than a token, which may have been stolen."""

from typing import NoReturn

from aiohttp import web

from servicekit.http import ServiceUnavailableError
from servicekit.internal_tokens import InternalToken, InternalTokens
from user_service.accounts import Accounts
from user_service.request_limits import RequestLimits
from user_service.users import InsufficientAuthenticationError, User, WrongPasswordError

MAX_AGE = 300  # seconds for which a login counts as proof
STANDARD_DIALECT = "rfc6749"
NEEDED = "send your own password as current_password, or log in again: this needs a login of the last five minutes"
WRONG = "current_password is not your own password"


class LoginTimeUnknownError(ServiceUnavailableError):
    """The token has no time of login, because an auth-service of the previous version issued it."""

    retry_after = 10


class Reauthentication:
    """Asks for the caller's own password, or for a recent login."""

    def __init__(self, accounts: Accounts, limits: RequestLimits, tokens: InternalTokens) -> None:
        self._accounts = accounts
        self._limits = limits
        self._tokens = tokens

    async def has_proven(
        self, request: web.Request, acting: User, token: InternalToken, current_password: str | None
    ) -> bool:
        """True if the caller sent the right password, or sent none and logged in at most `MAX_AGE` seconds ago.

        Raises InsufficientAuthenticationError if the password is wrong, however recent the login, and ThrottledError
        after too many wrong ones.
        """
        if current_password is None:
            age = self._tokens.login_age(token)
            return age is not None and age <= MAX_AGE
        try:
            async with self._limits.password_guess(request, acting.id):
                await self._accounts.check_password(acting.id, current_password, self._limits.network(request))
        except WrongPasswordError:
            _refuse(token, WRONG)
        return True

    async def demand(
        self, request: web.Request, acting: User, token: InternalToken, current_password: str | None
    ) -> None:
        """Return only if the caller has proven to be the user. Raises as `has_proven` and `refuse_unproven` do."""
        if not await self.has_proven(request, acting, token, current_password):
            refuse_unproven(token)


def refuse_unproven(token: InternalToken) -> NoReturn:
    """Raise InsufficientAuthenticationError, or LoginTimeUnknownError if the token has no time of login."""
    if token.auth_time is None:
        raise LoginTimeUnknownError
    _refuse(token, NEEDED)


def _refuse(token: InternalToken, detail: str) -> NoReturn:
    """Clients of the standard dialect also get a challenge (RFC 9470, section 3), which others do not know."""
    code = InsufficientAuthenticationError.code
    challenge = f'Bearer error="{code}", error_description="{detail}", max_age={MAX_AGE}'
    raise InsufficientAuthenticationError(detail, challenge if token.dialect == STANDARD_DIALECT else None) from None
