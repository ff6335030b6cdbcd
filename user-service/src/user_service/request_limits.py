"""The limits on sign-ups and on guesses of a current password, for each network and each user."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web

from servicekit.throttling.budgets import guess_budgets, window
from servicekit.throttling.networks import Networks, client_address, network_of
from servicekit.throttling.rate_limiter import RateLimiter
from user_service.settings import Settings
from user_service.users import WrongPasswordError


class RequestLimits:
    """The service's budgets, according to its settings."""

    def __init__(self, limiter: RateLimiter, settings: Settings) -> None:
        self._limiter = limiter
        self._gateways = Networks(settings.gateways)
        self._sign_ups = window(settings.throttle_sign_up)
        self._passwords = guess_budgets(
            "current password",
            pair=window(settings.throttle_password_pair),
            network=window(settings.throttle_password_network),
            free=settings.throttle_password_account,
            row=settings.throttle_password_row,
            attempts=window(settings.throttle_password_attempts),
        )

    @property
    def counters(self) -> Counter[str]:
        return self._limiter.counters

    def network(self, request: web.Request) -> str:
        """The network that the request comes from, as the gateway reports it."""
        return network_of(client_address(request, self._gateways))

    async def count_sign_up(self, request: web.Request) -> None:
        """Count a sign-up. Raises ThrottledError if too many came from the request's network."""
        await self._limiter.charge_network("sign-up", self._sign_ups, client_address(request, self._gateways))

    async def count_change_of_names(self, request: web.Request, user_id: int) -> None:
        """Count a change of names. Like a sign-up, it reveals which names are taken, so both share a budget.

        Raises ThrottledError if too many came from this user, or from the request's network.
        """
        address = client_address(request, self._gateways)
        await self._limiter.charge("sign-up", f"user {user_id}", self._sign_ups, address, user_id=str(user_id))
        await self.count_sign_up(request)

    @contextlib.asynccontextmanager
    async def password_guess(self, request: web.Request, user_id: int) -> AsyncIterator[None]:
        """Count a guess: the context checks the user's current password, and raises WrongPasswordError if it is wrong.

        Raises ThrottledError if too many were wrong: the holder of a stolen session must not find out the password.
        """
        address = client_address(request, self._gateways)
        admission = await self._limiter.admit(self._passwords, str(user_id), address)
        try:
            yield
        except WrongPasswordError:
            await admission.failed()
            raise
        except Exception:
            await admission.withdrawn()
            raise
        await admission.succeeded()
