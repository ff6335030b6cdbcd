"""Users that exist for a while."""

import contextlib
import math
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from drivers import RFC6749
from exchange import Reply, bearer, post_json, send

# A login is recent enough to delete users for five minutes; the remaining time is for one test.
LOGIN_IS_KEPT = 120.0


@dataclass(frozen=True)
class Person:
    """A user who has no session yet."""

    id: int
    email: str
    password: str

    @property
    def login(self) -> dict[str, str]:
        """The parameters of this user's login with a client of the standard dialect."""
        return {"username": self.email, "password": self.password}


class Administrator:
    """The seeded administrator, who logs in again before the login is too old for deleting users."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._token = ""
        self._since = -math.inf

    async def token(self) -> str:
        """An access token from a login within the last two minutes."""
        if time.monotonic() - self._since > LOGIN_IS_KEPT:
            self._since = time.monotonic()
            self._token = (await RFC6749.log_in(self._http, username="admin@example.com")).access_token
        return self._token

    async def delete(self, user_id: int) -> Reply:
        return await send(self._http, "DELETE", f"/api/v1/users/{user_id}", bearer(await self.token()))


@contextlib.asynccontextmanager
async def signed_up(http: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[Person]:
    """A new user, deleted when the context ends."""
    email, password = f"person-{secrets.token_hex(6)}@example.com", "a long enough password"
    reply = await post_json(http, "/api/v1/users", {"user": {"email": email, "password": password}})
    assert reply.status == 200, reply
    person = Person(reply.json()["id"], email, password)
    yield person
    await administrator.delete(person.id)
