"""user-service over HTTP: whose password this is, and which users' sessions must end."""

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
# Of logins whose account is being asked for; half of the requests that a gateway has in flight by default. Each takes
# user-service about a millisecond, also where the login is then refused.
MOST_LOOKUPS = 128
# A replica that waits for an event says so three times a second: one that is silent for as long is left for another.
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
    """user-service is of its previous version, which does not understand what it was asked."""


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

    def __init__(self, service: Service, tokens: ServiceTokens, exempt: Networks) -> None:
        """Logins from `exempt` addresses are sent without their network: then each login name counts by itself."""
        self._service = service
        self._tokens = tokens
        self._exempt = exempt
        self._lookups = ConcurrencyLimit(MOST_LOOKUPS)
        self._checks = ConcurrencyLimit()

    async def accounts_of(self, login: str, login_type: str, address: str) -> Sequence[str]:
        body = {"login": login, "login_type": login_type}
        network = self._holder(login, address)
        try:
            self._checks.check(network)  # the password would not be looked at
            self._lookups.check(network)
            with self._lookups.in_flight(network):
                raw = await self._call("POST", "/internal/credentials/account", "credentials:check", body, unknown=404)
        except NoRoomError:
            raise UnavailableError("user-service has no room") from None
        except PreviousVersionError:
            return [f"{login_type} {login.lower()}"]  # budgets by name, for as long as that version runs
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
        """The wide network that a login counts for here; from an exempt address each login name is one."""
        return login if address in self._exempt else wide_network_of(address)

    async def _check(self, body: dict[str, str], network: str | None) -> bytes:
        path, scope = "/internal/credentials/check", "credentials:check"
        if network is not None:
            with contextlib.suppress(PreviousVersionError):
                return await self._call("POST", path, scope, body | {"network": network}, unknown=422)
        return await self._call("POST", path, scope, body)

    async def events(self, wait: int, on_heard: Callable[[], None] | None = None) -> Sequence[UserEvent]:
        """The events not acknowledged yet; waits up to `wait` seconds for one.

        `on_heard` is called when they come, and several times a second while user-service waits for one.
        """
        raw = await self._call(
            *("GET", f"/internal/events?wait={wait}", "events:consume"),
            timeout=wait + 5,
            silence=POLL_SILENCE,
            on_heard=on_heard,
        )
        return _decode(raw, UserEvents).events

    async def acknowledge(self, events: Sequence[UserEvent]) -> None:
        """Have user-service forget events that have been applied."""
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
        """Waits no longer than the caller of the request being served, which user-service is told, nor once it left.

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
