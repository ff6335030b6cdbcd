"""The password grant (RFC 6749 section 4.3): user-service says whose password it is."""

import time

from auth_service.core import scope
from auth_service.core.access_tokens import StoredToken
from auth_service.core.errors import CallerLeftError, InvalidCredentialsError, InvalidRequestError, UnavailableError
from auth_service.core.model import Client, Session, TokenRequest, User
from auth_service.core.ports import Sessions, Throttle, Users
from auth_service.core.refresh_tokens import RefreshTokenEncoding

# Longer than a check takes unless something is unwell. Someone who hangs up after so many seconds has learned nothing.
PATIENCE = 1.5
AMR = ("pwd",)  # RFC 8176


class PasswordGrant:
    grant_type = "password"
    confidential_only = False
    issues_refresh_token = True

    def __init__(self, users: Users, sessions: Sessions, throttle: Throttle) -> None:
        self._users = users
        self._throttle = throttle
        self._sessions = sessions

    def check(self, request: TokenRequest) -> None:
        if request.username is None or request.password is None:
            raise InvalidRequestError("The login name or the password is missing.")

    async def authorize(
        self,
        request: TokenRequest,
        client: Client,
        _encoding: RefreshTokenEncoding | None,
        token: StoredToken | None,
        *,
        keep_email: bool,
    ) -> Session:
        granted = scope.granted(request.scope, client)
        user = await self._check(request, client)
        return await self._sessions.open(client, user, granted, keep_email=keep_email, token=token, amr=AMR)

    async def _check(self, request: TokenRequest, client: Client) -> User:
        login, login_type = request.username or "", request.login_type
        accounts = await self._users.accounts_of(login, login_type, request.address)
        attempt = await self._throttle.admit_login(accounts, client.client_id, request.address)
        asked_at = time.monotonic()
        try:
            user = await self._users.check_credentials(login, login_type, request.password or "", request.address)
        except CallerLeftError:
            # To hang up must not make guesses that cost nothing. But an owner who was left waiting has made none: in an
            # outage the budget would soon be used up, and keep the owner out after it.
            left_waiting = time.monotonic() - asked_at >= PATIENCE
            await (attempt.withdrawn() if left_waiting else attempt.failed())
            raise
        except UnavailableError:
            await attempt.withdrawn()
            raise
        if user is None:
            await attempt.failed()
            raise InvalidCredentialsError
        await attempt.succeeded()
        return user
