"""user-service over HTTP: whose password this is, and which users' sessions must end."""

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from auth_service.backends.concurrency_limit import ConcurrencyLimit, NoRoomError
from auth_service.core.errors import CallerLeftError, UnavailableError
from auth_service.core.model import User
from servicekit import callers, http, request_ids, wire

CHECK_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=1)


class ServiceTokens(Protocol):
    def for_service(self, scope: str) -> str:
        """An internal token that names auth-service itself."""


T = TypeVar("T")


class CheckedUser(msgspec.Struct):
    id: int
    email: str | None
    epoch: int


class CredentialCheck(msgspec.Struct):
    user: CheckedUser | None


class UserEvent(msgspec.Struct):
    """A change that ends sessions of a user, or that their tokens show. `keep_session` outlives it."""

    id: int
    type: str
    user_id: int
    epoch: int
    keep_session: str | None
    email: str | None


class UserEvents(msgspec.Struct):
    events: list[UserEvent]


class UserService:
    """The port `Users`, and the outbox of user-service."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tokens: ServiceTokens) -> None:
        self._session = session
        self._url = url
        self._tokens = tokens
        self._checks = ConcurrencyLimit()

    def check_room(self) -> None:
        if self._checks.reached:
            raise UnavailableError("user-service has no room")

    async def check_credentials(self, login: str, login_type: str, password: str) -> User | None:
        body = {"login": login, "password": password, "login_type": login_type}
        try:
            with self._checks.in_flight():
                raw = await self._call("POST", "/internal/credentials/check", "credentials:check", body, CHECK_TIMEOUT)
        except NoRoomError:
            raise UnavailableError("user-service has no room") from None
        user = _decode(raw, CredentialCheck).user
        return User(user.id, user.email, user.epoch) if user is not None else None

    async def events(self, wait: int) -> Sequence[UserEvent]:
        """The events not acknowledged yet; waits up to `wait` seconds for one."""
        timeout = aiohttp.ClientTimeout(total=wait + 5, connect=1)
        raw = await self._call("GET", f"/internal/events?wait={wait}", "events:consume", None, timeout)
        return _decode(raw, UserEvents).events

    async def acknowledge(self, events: Sequence[UserEvent]) -> None:
        """Have user-service forget events that have been applied."""
        body = {"ids": [event.id for event in events]}
        await self._call("POST", "/internal/events/ack", "events:consume", body, CHECK_TIMEOUT)

    async def _call(self, method: str, path: str, scope: str, body: Any, timeout: aiohttp.ClientTimeout) -> bytes:
        """Waits no longer than the caller of the request being served, which user-service is told, nor once it left."""
        caller = callers.current()
        seconds = min(timeout.total or math.inf, caller.remaining())
        if seconds <= 0 or caller.gone:
            raise UnavailableError("the caller waits no longer")
        headers = {"Authorization": f"Bearer {self._tokens.for_service(scope)}", "Content-Type": wire.JSON}
        headers |= request_ids.outgoing_request_id() | callers.outgoing_timeout(seconds)
        try:
            async with (
                caller.waiting(),
                self._session.request(
                    method,
                    self._url + path,
                    data=wire.encode(body) if body is not None else None,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response,
            ):
                if http.OVERLOAD in response.headers:
                    raise NoRoomError
                if response.status not in (200, 204):
                    raise UnavailableError(f"user-service answers {response.status}")
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if caller.gone:
                raise CallerLeftError("the caller left") from error
            raise UnavailableError("user-service cannot be reached") from error


def _decode(raw: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except msgspec.DecodeError as error:
        raise UnavailableError("user-service's answer cannot be read") from error
