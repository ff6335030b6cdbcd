"""Users who can log in in every dialect: by e-mail address, or by phone number if the dialect asks for one."""

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from drivers import BONGO, DRIVERS, Driver, Tokens
from exchange import Reply, bearer, post_json, send

PASSWORD = "a password of fair length"


@dataclass(frozen=True)
class Member:
    """A user; `id` is None until the user has signed up."""

    email: str
    phone_number: str
    password: str = PASSWORD
    id: int | None = None

    def request(self, driver: Driver, **changes: Any) -> dict[str, Any]:
        """The parameters of this user's login."""
        name = self.phone_number if driver.name == BONGO.name else self.email
        return driver.password_request(**{driver.login_name: name, "password": self.password, **changes})

    async def log_in(self, http: aiohttp.ClientSession, driver: Driver) -> Tokens:
        return driver.tokens(await post_json(http, driver.path, self.request(driver)))

    async def log_in_everywhere(self, http: aiohttp.ClientSession) -> dict[str, Tokens]:
        """A session in each dialect, by the dialect's name."""
        sessions = await asyncio.gather(*(self.log_in(http, driver) for driver in DRIVERS))
        return {driver.name: tokens for driver, tokens in zip(DRIVERS, sessions, strict=True)}

    async def sign_up(self, http: aiohttp.ClientSession) -> "Member":
        body = {"email": self.email, "phone_number": self.phone_number, "password": self.password}
        reply = await post_json(http, "/api/v1/users", {"user": body})
        assert reply.status == 200, reply
        return replace(self, id=reply.json()["id"])


def new_member() -> Member:
    """A user who has not signed up yet."""
    return Member(f"member-{secrets.token_hex(6)}@example.com", f"+88017{secrets.randbelow(10**8):08d}")


async def assert_refused(http: aiohttp.ClientSession, driver: Driver, tokens: Tokens) -> None:
    """Check that both the access token and the refresh token are refused."""
    assert not await driver.accepts(http, tokens.access_token), driver.name
    assert (await send(http, "GET", "/api/v1/sessions", bearer(tokens.access_token))).status == 401, driver.name
    if driver.refreshes:
        assert_invalid_grant(driver, await driver.refresh(http, tokens.refresh_token))


async def assert_accepted(http: aiohttp.ClientSession, driver: Driver, tokens: Tokens) -> None:
    """Check that both tokens are accepted; the refresh token is spent afterwards."""
    assert await driver.accepts(http, tokens.access_token), driver.name
    if driver.refreshes:
        assert await driver.accepts(http, driver.tokens(await driver.refresh(http, tokens.refresh_token)).access_token)


def assert_invalid_grant(driver: Driver, reply: Reply) -> None:
    """Check the reply to an invalid refresh token (doorkeeper's document has 401 for it)."""
    driver.assert_error(reply, 401 if driver.name == "doorkeeper" else 400, "invalid_grant")
