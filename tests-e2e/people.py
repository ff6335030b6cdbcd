"""Users that exist for a while."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from exchange import bearer, post_json, send


@dataclass(frozen=True)
class Person:
    """A user without any session yet."""

    id: int
    email: str
    password: str

    @property
    def login(self) -> dict[str, str]:
        """How this user logs in with a client of the standard."""
        return {"username": self.email, "password": self.password}


@contextlib.asynccontextmanager
async def signed_up(http: aiohttp.ClientSession, admin_token: str) -> AsyncIterator[Person]:
    """A new user, deleted when the context ends."""
    email, password = f"person-{secrets.token_hex(6)}@example.com", "a long enough password"
    reply = await post_json(http, "/api/v1/users", {"user": {"email": email, "password": password}})
    assert reply.status == 200, reply
    person = Person(reply.json()["id"], email, password)
    yield person
    await send(http, "DELETE", f"/api/v1/users/{person.id}", bearer(admin_token))
