"""The requests that only auth-service may make, with a token of its own: logins to check, and events about users."""

from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from servicekit import http, internal_tokens, wire
from user_service import bodies
from user_service.bodies import reply
from user_service.keys import ACCOUNTS, OUTBOX, TOKENS
from user_service.login_names import LoginType
from user_service.users import InvalidFieldsError

log = structlog.get_logger()

CALLER = "auth-service"
LONGEST_WAIT = 30.0

EventId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class CredentialCheck(msgspec.Struct, kw_only=True):
    """`login_type` says whether `login` may be any login name or is a phone number, with or without its `+`.

    `network` is the one that the login comes from (`192.0.2.1/32`, `2001:db8::/64`, `unknown`). It is missing where
    each account counts by itself: for an address that is exempt, and from an auth-service of the previous version.
    """

    login: str
    password: str
    login_type: LoginType = "any"
    network: str | None = None


class AccountsQuestion(msgspec.Struct, kw_only=True):
    """`login` and `login_type` as in `CredentialCheck`."""

    login: str
    login_type: LoginType = "any"


class Acknowledgement(msgspec.Struct, kw_only=True):
    ids: Annotated[list[EventId], Meta(max_length=1000)]


async def _check_caller(request: web.Request, scope: str) -> None:
    """Raises `web.HTTPUnauthorized`, or `web.HTTPForbidden` where it is not auth-service itself with this `scope`."""
    token = await internal_tokens.authenticate(request, request.app[TOKENS])
    if token.subject != CALLER or scope not in token.scope:
        raise web.HTTPForbidden


async def name_accounts(request: web.Request) -> web.Response:
    """An opaque name for each account that `login` may mean, of the same form for a login that nobody has."""
    await _check_caller(request, "credentials:check")
    form = bodies.read(await http.read_object(request, (wire.JSON,)), AccountsQuestion)
    return reply(request, {"accounts": await request.app[ACCOUNTS].accounts_of(form.login, form.login_type)})


async def check_credentials(request: web.Request) -> web.Response:
    """`{"user": null}` for every login that is not right, whatever the reason."""
    await _check_caller(request, "credentials:check")
    form = bodies.read(await http.read_object(request, (wire.JSON,)), CredentialCheck)
    user = await request.app[ACCOUNTS].check_login(form.login, form.password, form.login_type, form.network)
    found = {"id": user.id, "email": user.email, "epoch": user.epoch} if user is not None else None
    return reply(request, {"user": found})


async def events(request: web.Request) -> web.StreamResponse:
    """The events that are pending. Where the caller waits for one, spaces before the answer say that it is waited for.

    JSON may begin with white space, and a caller can tell a replica that waits from one that hangs.
    """
    await _check_caller(request, "events:consume")
    wait = _wait(request)
    found = await request.app[OUTBOX].pending(0)
    return reply(request, {"events": found}) if found or not wait else await _later_events(request, wait)


async def _later_events(request: web.Request, wait: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={**http.NO_STORE, "Content-Type": wire.JSON})

    async def beat() -> None:
        await response.write(b" ")

    try:
        await response.prepare(request)
        await beat()
        found = await request.app[OUTBOX].pending(wait, beat)
        await response.write(wire.encode({"events": found}))
    except ConnectionError:
        pass  # the caller has left
    except Exception:  # 200 has been said: only an answer that breaks off can tell that it is none
        log.warning("unavailable", exc_info=True)
        if request.transport is not None:
            request.transport.abort()
    return response


def _wait(request: web.Request) -> float:
    try:
        wait = float(request.query.get("wait", "0"))
    except ValueError:
        wait = -1.0
    if not 0 <= wait <= LONGEST_WAIT:
        raise InvalidFieldsError({"wait": f"must be between 0 and {LONGEST_WAIT:.0f} seconds"})
    return wait


async def acknowledge(request: web.Request) -> web.Response:
    await _check_caller(request, "events:consume")
    form = bodies.read(await http.read_object(request, (wire.JSON,)), Acknowledgement)
    await request.app[OUTBOX].acknowledge(form.ids)
    return web.Response(status=204, headers=http.NO_STORE)


ROUTES = [
    web.post("/internal/credentials/account", name_accounts),
    web.post("/internal/credentials/check", check_credentials),
    web.get("/internal/events", events),
    web.post("/internal/events/ack", acknowledge),
]
