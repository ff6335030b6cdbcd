"""The public user API (doorkeeper-jwt.md, and additions that its clients need): requests in, responses out."""

import re
from datetime import datetime
from typing import Any, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from servicekit import http
from servicekit.internal_tokens import InternalToken
from user_service import bodies
from user_service.accounts import Accounts
from user_service.acting import Callers
from user_service.bodies import MEDIA_TYPES, reply
from user_service.login_names import Kind
from user_service.outbox import Outbox
from user_service.reauthentication import Reauthentication, refuse_unproven
from user_service.request_limits import RequestLimits
from user_service.users import InvalidFieldsError, Role, UnprovenError, User

PAGE = 50
LARGEST_PAGE = 100
_NUMBER = re.compile(r"[0-9]{1,18}")
_USERS = "/api/v1/users"
_USER = _USERS + "/{id:[1-9][0-9]{0,17}}"


class SignUpBody(msgspec.Struct):
    user: dict[str, Any]


class Proof(msgspec.Struct, kw_only=True):
    """The caller's own password, even if the request is about another user."""

    current_password: str | None = None


class ChangeBody(Proof, kw_only=True):
    user: dict[str, Any]


class SignUp(msgspec.Struct, kw_only=True):
    email: str | None = None
    username: str | None = None
    phone_number: str | None = None
    password: str


class Change(msgspec.Struct, kw_only=True):
    """Absent fields stay unchanged; null removes a login name."""

    email: str | UnsetType | None = UNSET
    username: str | UnsetType | None = UNSET
    phone_number: str | UnsetType | None = UNSET
    role: Role | UnsetType = UNSET


class PasswordChange(msgspec.Struct, kw_only=True):
    current_password: str
    password: str


class PasswordReset(Proof, kw_only=True):
    password: str


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rendered(user: User) -> dict[str, Any]:
    """A user as the API's document shows it; `username` and `phone_number` only if the user has them."""
    shown = {
        "id": user.id,
        "email": user.email,
        "created_at": _timestamp(user.created_at),
        "updated_at": _timestamp(user.updated_at),
        "role": user.role,
    }
    extra = {"username": user.username, "phone_number": user.phone_number}
    return shown | {name: value for name, value in extra.items() if value is not None}


class UsersApi:
    """The handlers of the public user API."""

    def __init__(
        self,
        accounts: Accounts,
        outbox: Outbox,
        limits: RequestLimits,
        callers: Callers,
        reauthentication: Reauthentication,
    ) -> None:
        self._accounts = accounts
        self._outbox = outbox
        self._limits = limits
        self._callers = callers
        self._reauthentication = reauthentication

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(_USERS, self.sign_up),
            web.get(_USERS, self.list_users),
            web.get(f"{_USERS}/me", self.show_me),
            web.get(_USER, self.show),
            web.patch(_USER, self.change),
            web.delete(_USER, self.delete),
            web.post(f"{_USER}/password", self.change_password),
        ]

    async def sign_up(self, request: web.Request) -> web.Response:
        as_admin = await self._callers.signs_up_as_admin(request)
        body = bodies.read(await http.read_object(request, MEDIA_TYPES), SignUpBody)
        with bodies.inside("user"):
            form = bodies.read(body.user, SignUp)
            if not as_admin:
                await self._limits.count_sign_up(request)
            names: dict[Kind, str | None] = {kind: getattr(form, kind) for kind in get_args(Kind)}
            network = self._limits.network(request)
            user = await self._accounts.sign_up(names, form.password, network=network)
        return reply(request, rendered(user))

    async def list_users(self, request: web.Request) -> web.Response:
        user, _ = await self._callers.acting_user(request)
        if user.role != "admin":
            raise web.HTTPForbidden
        after, limit = _number(request, "after", 0), _number(request, "limit", PAGE)
        if not 1 <= limit <= LARGEST_PAGE:
            raise InvalidFieldsError({"limit": f"must be between 1 and {LARGEST_PAGE}"})
        users = await self._accounts.page(after, limit + 1)
        more = len(users) > limit
        page = {"users": [rendered(user) for user in users[:limit]], "next": users[limit - 1].id if more else None}
        return reply(request, page)

    async def show_me(self, request: web.Request) -> web.Response:
        user, _ = await self._callers.acting_user(request)
        return reply(request, rendered(user))

    async def show(self, request: web.Request) -> web.Response:
        acting, _ = await self._callers.acting_user(request)
        user_id = _visible(request, acting)
        user = acting if user_id == acting.id else (await self._accounts.find(user_id)).user
        return reply(request, rendered(user))

    async def change(self, request: web.Request) -> web.Response:
        acting, token = await self._callers.acting_user(request)
        user_id = _visible(request, acting)
        body = bodies.read(await http.read_object(request, MEDIA_TYPES), ChangeBody)
        with bodies.inside("user"):
            form = bodies.read(body.user, Change)
            if form == Change():
                raise InvalidFieldsError({"": "names nothing to change"})
            if form.role is not UNSET and acting.role != "admin":
                raise web.HTTPForbidden
            names: dict[Kind, str | None] = {
                kind: text for kind in get_args(Kind) if (text := getattr(form, kind)) is not UNSET
            }
            if names and acting.role != "admin":
                await self._limits.count_change_of_names(request, acting.id)
            role = None if form.role is UNSET else form.role
            proven = await self._reauthentication.has_proven(request, acting, token, body.current_password)
            try:
                user = await self._accounts.update(user_id, names, role, proven=proven, epoch=_own(acting, user_id))
            except UnprovenError:
                refuse_unproven(token)
        if role is not None:
            await self._outbox.wait_sessions_ended(user_id)
        return reply(request, rendered(user))

    async def change_password(self, request: web.Request) -> web.Response:
        acting, token = await self._callers.acting_user(request)
        user_id = _visible(request, acting)
        body = await http.read_object(request, MEDIA_TYPES)
        if user_id == acting.id:
            await self._change_own_password(request, token, bodies.read(body, PasswordChange), user_id)
        else:
            form = bodies.read(body, PasswordReset)
            await self._reauthentication.demand(request, acting, token, form.current_password)
            network = self._limits.network(request)
            await self._accounts.set_password(user_id, form.password, by=acting.id, network=network)
        await self._outbox.wait_sessions_ended(user_id)
        return web.Response(status=204, headers=http.NO_STORE)

    async def _change_own_password(
        self, request: web.Request, token: InternalToken, form: PasswordChange, user_id: int
    ) -> None:
        network = self._limits.network(request)
        async with self._limits.password_guess(request, user_id):
            await self._accounts.change_password(
                user_id, form.current_password, form.password, token.session_id, network
            )

    async def delete(self, request: web.Request) -> web.Response:
        acting, token = await self._callers.acting_user(request)
        user_id = _visible(request, acting)
        form = bodies.read(await http.read_object(request, MEDIA_TYPES, optional=True), Proof)
        await self._reauthentication.demand(request, acting, token, form.current_password)
        await self._accounts.delete(user_id, _own(acting, user_id))
        await self._outbox.wait_sessions_ended(user_id)
        return web.Response(status=204, headers=http.NO_STORE)


def _number(request: web.Request, name: str, default: int) -> int:
    values = request.query.getall(name, [str(default)])
    if len(values) != 1 or not _NUMBER.fullmatch(values[0]):
        raise InvalidFieldsError({name: "must be one number"})
    return int(values[0])


def _visible(request: web.Request, acting: User) -> int:
    """The id in the path. Raises `web.HTTPNotFound`, as for an unknown id, if the caller may not see that user."""
    user_id = int(request.match_info["id"])
    if user_id != acting.id and acting.role != "admin":
        raise web.HTTPNotFound
    return user_id


def _own(acting: User, user_id: int) -> int | None:
    """The user's epoch at the caller's proof if callers change themselves, else None."""
    return acting.epoch if user_id == acting.id else None
