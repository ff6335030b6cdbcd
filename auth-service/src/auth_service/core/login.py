"""Logging in: a login name and a password are checked within the budgets for guesses."""

import time

from auth_service.core.errors import CallerLeftError, InvalidCredentialsError, UnavailableError
from auth_service.core.model import User
from auth_service.core.ports import Throttle, Users

# Seconds. A check takes less unless something is wrong, so a caller who hangs up after this time has learned nothing.
PATIENCE = 1.5


class Login:
    """Checks credentials for every grant and page that takes them: one account has one budget."""

    def __init__(self, users: Users, throttle: Throttle) -> None:
        self._users = users
        self._throttle = throttle

    async def authenticate(self, login: str, login_type: str, password: str, client_id: str, address: str) -> User:
        """The user to whom the login name and the password belong.

        `login_type` narrows the kinds of login name: `any`, or `phone_number`. `address` is the client's, as text.
        Raises InvalidCredentialsError, TooManyRequestsError or UnavailableError.
        """
        accounts = await self._users.accounts_of(login, login_type, address)
        attempt = await self._throttle.admit_login(accounts, client_id, address)
        asked_at = time.monotonic()
        try:
            user = await self._users.check_credentials(login, login_type, password, address)
        except CallerLeftError:
            # Hanging up must not make guesses free. But an owner who was kept waiting has not guessed: otherwise an
            # outage would use up the budget and lock the owner out.
            kept_waiting = time.monotonic() - asked_at >= PATIENCE
            await (attempt.withdrawn() if kept_waiting else attempt.failed())
            raise
        except UnavailableError:
            await attempt.withdrawn()
            raise
        if user is None:
            await attempt.failed()
            raise InvalidCredentialsError
        await attempt.succeeded()
        return user
