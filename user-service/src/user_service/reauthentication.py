"""Proof that the caller is the user: some requests need more than a token, since it may have been stolen."""

from typing import NoReturn

from aiohttp import web

from servicekit.http import ServiceUnavailableError
from servicekit.internal_tokens import InternalToken, InternalTokens
from user_service.accounts import Accounts
from user_service.throttles import Throttles
from user_service.users import InsufficientAuthenticationError, User, WrongPasswordError

MAX_AGE = 300  # seconds for which a login is proof
STANDARD_DIALECT = "rfc6749"
NEEDED = "send your own password as current_password, or log in again: this needs a login of the last five minutes"
WRONG = "current_password is not your own password"


class LoginTimeUnknownError(ServiceUnavailableError):
    """The token does not say when the user logged in: it is from an auth-service of the previous version."""

    retry_after = 10


class Reauthentication:
    """Asks for the caller's own password, or for a recent login."""

    def __init__(self, accounts: Accounts, throttles: Throttles, tokens: InternalTokens) -> None:
        self._accounts = accounts
        self._throttles = throttles
        self._tokens = tokens

    async def has_proven(
        self, request: web.Request, acting: User, token: InternalToken, current_password: str | None
    ) -> bool:
        """True if the caller sent the right password, or sent none and logged in at most `MAX_AGE` seconds ago.

        Raises InsufficientAuthenticationError where the password is wrong, however recent the login, and ThrottledError
        after too many wrong ones.
        """
        if current_password is None:
            age = self._tokens.login_age(token)
            return age is not None and age <= MAX_AGE
        try:
            async with self._throttles.password_guess(request, acting.id):
                await self._accounts.check_password(acting.id, current_password, self._throttles.network(request))
        except WrongPasswordError:
            _refuse(token, WRONG)
        return True

    async def demand(
        self, request: web.Request, acting: User, token: InternalToken, current_password: str | None
    ) -> None:
        """Return if the caller has proven to be the user. Raises what `has_proven` and `refuse_unproven` raise."""
        if not await self.has_proven(request, acting, token, current_password):
            refuse_unproven(token)


def refuse_unproven(token: InternalToken) -> NoReturn:
    """Raises InsufficientAuthenticationError, or LoginTimeUnknownError where the token says nothing of the login."""
    if token.auth_time is None:
        raise LoginTimeUnknownError
    _refuse(token, NEEDED)


def _refuse(token: InternalToken, detail: str) -> NoReturn:
    """Clients of the standard also get a challenge (RFC 9470, section 3); those of other dialects do not know it."""
    code = InsufficientAuthenticationError.code
    challenge = f'Bearer error="{code}", error_description="{detail}", max_age={MAX_AGE}'
    raise InsufficientAuthenticationError(detail, challenge if token.dialect == STANDARD_DIALECT else None) from None
