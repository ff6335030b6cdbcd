"""Finds the user or client that a public request acts for, and their rights; roles are read from the database."""

from typing import NoReturn

from aiohttp import hdrs, web

from servicekit import internal_tokens
from servicekit.internal_tokens import InternalToken, InternalTokens
from user_service.accounts import Accounts
from user_service.users import NoSuchUserError, User

CHALLENGE = 'Bearer realm="parley"'
SIGN_UP = "SignUp"
USER_ACTIVITY = "UserActivity"


def _unauthorized(challenge: str = f'{CHALLENGE}, error="invalid_token"') -> NoReturn:
    raise web.HTTPUnauthorized(headers={hdrs.WWW_AUTHENTICATE: challenge})


def _insufficient(scope: str) -> NoReturn:
    challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    raise web.HTTPForbidden(headers={hdrs.WWW_AUTHENTICATE: challenge})


def _acts_as_user(token: InternalToken) -> bool:
    return not token.scope or USER_ACTIVITY in token.scope


class Callers:
    """Finds out for whom a public request acts. `open_sign_up` is true if anybody may sign up."""

    def __init__(self, accounts: Accounts, tokens: InternalTokens, *, open_sign_up: bool) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._open_sign_up = open_sign_up

    async def _token_of(self, request: web.Request) -> InternalToken:
        """The request's token. Raises `web.HTTPUnauthorized`, without an error if there is no token (RFC 6750 §3.1)."""
        if hdrs.AUTHORIZATION not in request.headers:
            _unauthorized(CHALLENGE)
        try:
            return await internal_tokens.authenticate(request, self._tokens)
        except web.HTTPUnauthorized:
            _unauthorized()

    async def _user(self, user_id: int) -> User:
        """The user that a token names. Raises `web.HTTPUnauthorized` if they were deleted or disabled meanwhile."""
        try:
            user = (await self._accounts.find(user_id)).user
        except NoSuchUserError:
            _unauthorized()
        if user.disabled:
            _unauthorized()
        return user

    async def acting_user(self, request: web.Request) -> tuple[User, InternalToken]:
        """The user that the request acts for, and the token. Raises `web.HTTPUnauthorized` or `web.HTTPForbidden`."""
        token = await self._token_of(request)
        if token.user_id is None or not _acts_as_user(token):
            _insufficient(USER_ACTIVITY)
        return await self._user(token.user_id), token

    async def signs_up_as_admin(self, request: web.Request) -> bool:
        """True if an admin signs the user up. Raises `web.HTTPUnauthorized` or `web.HTTPForbidden`.

        While sign-up is open, anyone may sign up. Otherwise the caller must be an admin, or a client whose own token
        has the scope `SignUp`. A user's token may have that scope too, but there it does not count.
        """
        if self._open_sign_up and hdrs.AUTHORIZATION not in request.headers:
            return False
        token = await self._token_of(request)
        user = await self._user(token.user_id) if token.user_id is not None else None
        if user is not None and user.role == "admin" and _acts_as_user(token):
            return True
        if not self._open_sign_up and (token.user_id is not None or SIGN_UP not in token.scope):
            _insufficient(SIGN_UP)
        return False
