"""A client of user-service, which checks credentials and reports the users whose sessions must end."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from msgspec import Meta

from auth_service.backends.concurrency_limit import ConcurrencyLimit, NoRoomError
from auth_service.core.errors import CallerLeftError, UnavailableError
from auth_service.core.model import User
from servicekit import callers, http, request_ids, wire
from servicekit.throttling.networks import Networks, network_of, wide_network_of
from servicekit.upstreams.calls import CallFailedError, Service

CHECK_TIMEOUT = 10.0  # seconds
# The maximum of account lookups in flight: half of the requests that a gateway has in flight by default. Each lookup
# takes user-service about a millisecond, even if the login is refused afterwards.
MOST_LOOKUPS = 128
# Seconds. A replica that waits for an event sends a sign three times a second; after this silence, another is asked.
POLL_SILENCE = 1.0


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


class LoginAccounts(msgspec.Struct):
    accounts: Annotated[list[str], Meta(min_length=1)]


class PreviousVersionError(Exception):
    """user-service still runs its previous version, which does not understand the request."""


class UserEvent(msgspec.Struct):
    """A change that ends a user's sessions, or that shows in their tokens. `keep_session` is not ended."""

    id: int
    type: str
    user_id: int
    epoch: int
    keep_session: str | None
    email: str | None


class UserEvents(msgspec.Struct):
    events: list[UserEvent]


class UserService:
    """Implements the port `Users`, and reads the outbox of user-service."""

    def __init__(self, service: Service, tokens: ServiceTokens, exempt: Networks) -> None:
        """Logins from `exempt` addresses are sent without their network, so that each login name counts separately."""
        self._service = service
        self._tokens = tokens
        self._exempt = exempt
        self._lookups = ConcurrencyLimit(MOST_LOOKUPS)
        self._checks = ConcurrencyLimit()

    async def accounts_of(self, login: str, login_type: str, address: str) -> Sequence[str]:
        body = {"login": login, "login_type": login_type}
        network = self._holder(login, address)
        try:
            self._checks.check(network)  # no lookup if the password would not be checked anyway
            self._lookups.check(network)
            with self._lookups.in_flight(network):
                raw = await self._call("POST", "/internal/credentials/account", "credentials:check", body, unknown=404)
        except NoRoomError:
            raise UnavailableError("user-service has no room") from None
        except PreviousVersionError:
            return [f"{login_type} {login.lower()}"]  # count by login name as long as that version runs
        return _decode(raw, LoginAccounts).accounts

    async def check_credentials(self, login: str, login_type: str, password: str, address: str) -> User | None:
        body = {"login": login, "password": password, "login_type": login_type}
        try:
            with self._checks.in_flight(self._holder(login, address)):
                raw = await self._check(body, None if address in self._exempt else network_of(address))
        except NoRoomError:
            raise UnavailableError("user-service has no room") from None
        user = _decode(raw, CredentialCheck).user
        return User(user.id, user.email, user.epoch) if user is not None else None

    def _holder(self, login: str, address: str) -> str:
        """The wide network under which a login is counted here; from an exempt address, the login name itself."""
        return login if address in self._exempt else wide_network_of(address)

    async def _check(self, body: dict[str, str], network: str | None) -> bytes:
        path, scope = "/internal/credentials/check", "credentials:check"
        if network is not None:
            with contextlib.suppress(PreviousVersionError):
                return await self._call("POST", path, scope, body | {"network": network}, unknown=422)
        return await self._call("POST", path, scope, body)

    async def events(self, wait: int, on_heard: Callable[[], None] | None = None) -> Sequence[UserEvent]:
        """The events that have not been acknowledged; waits up to `wait` seconds for one.

        `on_heard` is called when they arrive, and several times a second while user-service waits for one.
        """
        raw = await self._call(
            *("GET", f"/internal/events?wait={wait}", "events:consume"),
            timeout=wait + 5,
            silence=POLL_SILENCE,
            on_heard=on_heard,
        )
        return _decode(raw, UserEvents).events

    async def acknowledge(self, events: Sequence[UserEvent]) -> None:
        """Tell user-service to delete events that have been applied."""
        body = {"ids": [event.id for event in events]}
        await self._call("POST", "/internal/events/ack", "events:consume", body)

    async def _call(
        self,
        method: str,
        path: str,
        scope: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        silence: float = math.inf,
        on_heard: Callable[[], None] | None = None,
        unknown: int | None = None,
    ) -> bytes:
        """Call user-service until the current request's caller stops waiting or leaves; pass the caller's deadline on.

        Raises PreviousVersionError for the status `unknown`, NoRoomError and UnavailableError.
        """
        headers = {"Authorization": f"Bearer {self._tokens.for_service(scope)}", "Content-Type": wire.JSON}
        try:
            answer = await self._service.call(
                method,
                path,
                headers | request_ids.outgoing_request_id(),
                wire.encode(body) if body is not None else None,
                timeout=CHECK_TIMEOUT if timeout is None else timeout,
                silence=silence,
                on_heard=on_heard,
            )
        except CallFailedError as error:
            if callers.current().gone:
                raise CallerLeftError("the caller left") from error
            raise UnavailableError(f"user-service: {error}") from error
        if http.OVERLOAD.lower() in answer.headers:
            raise NoRoomError
        if answer.status == unknown:
            raise PreviousVersionError
        if answer.status not in (200, 204):
            raise UnavailableError(f"user-service answers {answer.status}")
        return answer.body


def _decode(raw: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except msgspec.DecodeError as error:
        raise UnavailableError("user-service's answer cannot be read") from error
