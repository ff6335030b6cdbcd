"""The endpoints that only auth-service may use, with its own token: checks of logins, and events about users."""

from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from servicekit import http, internal_tokens, wire
from servicekit.internal_tokens import InternalTokens
from user_service import bodies
from user_service.accounts import Accounts
from user_service.bodies import reply
from user_service.login_names import LoginType
from user_service.outbox import Outbox
from user_service.users import InvalidFieldsError

log = structlog.get_logger()

CALLER = "auth-service"
LONGEST_WAIT = 30.0

EventId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class CredentialCheck(msgspec.Struct, kw_only=True):
    """`login_type` is `any`, or `phone_number` if `login` must be a phone number, with or without its `+`.

    `network` is the one that the login comes from (`192.0.2.1/32`, `2001:db8::/64`, `unknown`). It is missing if each
    account counts by itself: for an exempt address, and from an auth-service of the previous version.
    """

    login: str
    password: str
    login_type: LoginType = "any"
    network: str | None = None


class AccountsQuestion(msgspec.Struct, kw_only=True):
    """`login` and `login_type` are as in `CredentialCheck`."""

    login: str
    login_type: LoginType = "any"


class Acknowledgement(msgspec.Struct, kw_only=True):
    ids: Annotated[list[EventId], Meta(max_length=1000)]


class InternalApi:
    """The handlers of auth-service's requests."""

    def __init__(self, accounts: Accounts, outbox: Outbox, tokens: InternalTokens) -> None:
        self._accounts = accounts
        self._outbox = outbox
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/internal/credentials/account", self.name_accounts),
            web.post("/internal/credentials/check", self.check_credentials),
            web.get("/internal/events", self.events),
            web.post("/internal/events/ack", self.acknowledge),
        ]

    async def _check_caller(self, request: web.Request, scope: str) -> None:
        """Raise `web.HTTPUnauthorized`, or `web.HTTPForbidden` unless the caller is auth-service with this `scope`."""
        token = await internal_tokens.authenticate(request, self._tokens)
        if token.subject != CALLER or scope not in token.scope:
            raise web.HTTPForbidden

    async def name_accounts(self, request: web.Request) -> web.Response:
        """Return an opaque name for each account that `login` may mean; unknown logins get names of the same form."""
        await self._check_caller(request, "credentials:check")
        form = bodies.read(await http.read_object(request, (wire.JSON,)), AccountsQuestion)
        return reply(request, {"accounts": await self._accounts.accounts_of(form.login, form.login_type)})

    async def check_credentials(self, request: web.Request) -> web.Response:
        """Return the user, or `{"user": null}` for every wrong login, whatever the reason."""
        await self._check_caller(request, "credentials:check")
        form = bodies.read(await http.read_object(request, (wire.JSON,)), CredentialCheck)
        user = await self._accounts.check_login(form.login, form.password, form.login_type, form.network)
        found = {"id": user.id, "email": user.email, "epoch": user.epoch} if user is not None else None
        return reply(request, {"user": found})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Return the pending events. While the caller waits for one, spaces are sent before the answer.

        JSON may begin with white space, and so the caller can tell a replica that waits from one that hangs.
        """
        await self._check_caller(request, "events:consume")
        wait = _wait(request)
        found = await self._outbox.pending(0)
        return reply(request, {"events": found}) if found or not wait else await self._later_events(request, wait)

    async def _later_events(self, request: web.Request, wait: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={**http.NO_STORE, "Content-Type": wire.JSON})

        async def beat() -> None:
            await response.write(b" ")

        try:
            await response.prepare(request)
            await beat()
            found = await self._outbox.pending(wait, beat)
            await response.write(wire.encode({"events": found}))
        except ConnectionError:
            pass  # the caller has left
        except Exception:  # 200 has been sent, so only breaking off the answer can report the failure
            log.warning("unavailable", exc_info=True)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def acknowledge(self, request: web.Request) -> web.Response:
        await self._check_caller(request, "events:consume")
        form = bodies.read(await http.read_object(request, (wire.JSON,)), Acknowledgement)
        await self._outbox.acknowledge(form.ids)
        return web.Response(status=204, headers=http.NO_STORE)


def _wait(request: web.Request) -> float:
    try:
        wait = float(request.query.get("wait", "0"))
    except ValueError:
        wait = -1.0
    if not 0 <= wait <= LONGEST_WAIT:
        raise InvalidFieldsError({"wait": f"must be between 0 and {LONGEST_WAIT:.0f} seconds"})
    return wait
