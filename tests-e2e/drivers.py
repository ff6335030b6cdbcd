"""The six dialects as their clients speak them, each with the client and the user that `make run` seeds for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from exchange import Reply, bearer, post_json, send

OAUTH_TOKEN, OAUTH2_TOKEN, BONGO_TOKEN = "/oauth/token", "/oauth2/token", "/api/oauth/access-token/v1/"
TOKEN_PATHS = (OAUTH_TOKEN, OAUTH2_TOKEN, BONGO_TOKEN)

# RFC 6749 section 5.2 restricts `error` and `error_description`; messages in other languages use their own letters.
_ASCII_WORDS = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")


@dataclass(frozen=True)
class Tokens:
    """The tokens that a client holds after a login."""

    access_token: str
    refresh_token: str | None


@dataclass(frozen=True)
class Driver:
    """A client of one dialect.

    `client` identifies it in a token request, `identity` authenticates it elsewhere. `login` holds the credentials in
    its document, the name first and the password second; `error_names` are the members of its errors, in order.
    """

    name: str
    path: str
    client: Mapping[str, str]
    identity: Mapping[str, str]
    login: Mapping[str, str]
    error_names: tuple[str, ...] = ("error", "error_description")
    extra: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    refreshes: bool = True
    refused_login: tuple[int, str] = (400, "invalid_grant")

    @property
    def login_name(self) -> str:
        """The parameter for the login name."""
        return next(iter(self.login))

    @property
    def client_id(self) -> str:
        return self.identity["client_id"]

    def password_request(self, **changes: Any) -> dict[str, Any]:
        """The parameters of a login; None removes one."""
        members: dict[str, Any] = {"grant_type": "password", **self.client, **self.login, **self.extra, **changes}
        return {name: value for name, value in members.items() if value is not None}

    async def log_in(self, http: aiohttp.ClientSession, **changes: Any) -> Tokens:
        return self.tokens(await post_json(http, self.path, self.password_request(**changes)))

    async def refresh(self, http: aiohttp.ClientSession, refresh_token: str | None, **changes: Any) -> Reply:
        members = {"grant_type": "refresh_token", **self.client, "refresh_token": refresh_token, **changes}
        return await post_json(http, self.path, members)

    async def me(self, http: aiohttp.ClientSession, access_token: str) -> Reply:
        """A protected request."""
        return await send(http, "GET", "/api/v1/users/me", bearer(access_token))

    async def accepts(self, http: aiohttp.ClientSession, access_token: str) -> bool:
        """True if a protected request with this token succeeds; it may fail only because of the token."""
        reply = await self.me(http, access_token)
        assert reply.status in (200, 401), reply
        return reply.status == 200

    def tokens(self, reply: Reply) -> Tokens:
        assert reply.status == self.status, reply
        members = reply.json()
        members = members.get("result", members)
        return Tokens(members["access_token"], members.get("refresh_token"))

    def assert_error(self, reply: Reply, status: int, code: str) -> None:
        """Check that the reply is this error in this dialect's form, and that it must not be stored."""
        assert reply.status == status, reply
        members = reply.json()
        assert tuple(members) == self.error_names
        assert members["error"] == code
        assert reply.content_type.partition(";")[0] == "application/json"
        reply.assert_not_stored()
        if self.name == "bongo":
            assert members["message"] == members["display_message"]
            assert (members["status"], members["causes"]) == (status, None)
        words = members.get("error_description") or members.get("error_message") or members["message"]
        assert _ASCII_WORDS.fullmatch(words) or (self.name == "passport" and words)


RFC6749 = Driver(
    name="rfc6749",
    path=OAUTH_TOKEN,
    client={"client_id": "demo", "client_secret": "demo-secret"},
    identity={"client_id": "demo", "client_secret": "demo-secret"},
    login={"username": "person1@example.com", "password": "password"},
)
DOORKEEPER_JWT = Driver(
    name="doorkeeper_jwt",
    path=OAUTH_TOKEN,
    client={
        "client_id": "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca",
        "client_secret": "fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97",
    },
    identity={
        "client_id": "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca",
        "client_secret": "fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97",
    },
    login={"username": "person1@example.com", "password": "password"},
)
DOORKEEPER = Driver(
    name="doorkeeper",
    path=OAUTH_TOKEN,
    client={},
    identity={"client_id": "doorkeeper"},
    login={"login": "person1@example.com", "password": "password"},
    error_names=("error", "error_message"),
    refused_login=(401, "invalid_grant"),
)
CUBUX = Driver(
    name="cubux",
    path=OAUTH2_TOKEN,
    client={"client_id": "MY_CLIENT_ID"},
    identity={"client_id": "MY_CLIENT_ID", "client_secret": "MY_CLIENT_SECRET"},
    login={"username": "User name", "password": "password"},
    extra={"scope": "UserActivity"},
)
PASSPORT = Driver(
    name="passport",
    path=OAUTH_TOKEN,
    client={"client_id": "1", "client_secret": "k8cdDKNruUd0IXbuOUgdoFhCpG"},
    identity={"client_id": "1", "client_secret": "k8cdDKNruUd0IXbuOUgdoFhCpG"},
    login={"username": "usuario@noveltie.com", "password": "123456"},
    error_names=("error", "message"),
    extra={"scope": ""},
    refused_login=(401, "invalid_credentials"),
)
BONGO = Driver(
    name="bongo",
    path=BONGO_TOKEN,
    client={},
    identity={"client_id": "bongo"},
    login={"phone_number": "+8801700000000", "password": "password"},
    error_names=("message", "display_message", "status", "error", "causes"),
    status=201,
    refreshes=False,
    refused_login=(401, "unauthorized"),
)

DRIVERS = (RFC6749, DOORKEEPER_JWT, DOORKEEPER, CUBUX, PASSPORT, BONGO)
REFRESHING = tuple(driver for driver in DRIVERS if driver.refreshes)


def assert_problem(reply: Reply, status: int) -> dict[str, Any]:
    """Check that the reply is an RFC 9457 problem document with this status; returns its members."""
    assert reply.status == status, reply
    assert reply.content_type == "application/problem+json; charset=utf-8"
    members: dict[str, Any] = reply.json()
    assert list(members)[:3] == ["type", "title", "status"]
    assert members["status"] == status
    return members
