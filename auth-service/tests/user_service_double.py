"""A double of user-service over HTTP: it checks credentials and hands out events, late or wrong ones on demand."""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from aiohttp import web

from servicekit.testing import ServiceServer

from .serving import eventually

_numbers = itertools.count(100)


@dataclass
class User:
    id: int
    login: str
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    epoch: int = 0
    email: str | None = None


class UserService:
    """`fault` answers credential checks instead, and `account_fault` the requests for the account of a login.

    `before_answer` is awaited between a check and its answer.

    While `previous`, it acts as the previous version: it names no accounts and refuses fields unknown to that version.
    A login in `readings` may mean each of the names there, and means the first one that belongs to a user.
    Events are handed out only after `before_events` seconds. While it is `frozen`, it sends not a byte of them, and
    while it `refuses_events`, it answers 503.
    """

    def __init__(self) -> None:
        self.url = ""
        self.users: dict[str, User] = {}
        self.readings: dict[str, list[str]] = {}
        self.events: dict[int, dict[str, Any]] = {}
        self.bearers: list[str] = []
        self.checks: list[dict[str, Any]] = []
        self.fault: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.before_answer: Callable[[User], Awaitable[None]] | None = None
        self.account_fault: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.before_events = 0.0
        self.frozen = False
        self.refuses_events = False
        self.previous = False
        self._arrival = asyncio.Event()
        self._event_ids = itertools.count(1)

    def add(self, **given: Any) -> User:
        """A user with an id that no other test gets."""
        number = next(_numbers)
        user = User(**{"id": number, "login": f"user{number}", "email": f"user{number}@example.com"} | given)
        self.users[user.login] = user
        return user

    def add_name(self, user: User, login: str) -> User:
        """Add another login name to a user; returns the user as one who logs in by it."""
        self.users[login] = named = replace(user, login=login)
        return named

    def emit(self, user: User, event_type: str = "sessions_ended", keep_session: str | None = None) -> int:
        """Put an event into the outbox with the user's current data; returns the event's id."""
        event_id = next(self._event_ids)
        facts = {"user_id": user.id, "epoch": user.epoch, "keep_session": keep_session, "email": user.email}
        self.events[event_id] = {"id": event_id, "type": event_type, **facts}
        self._arrival.set()
        return event_id

    async def end_sessions(self, user: User, keep_session: str | None = None) -> None:
        """Raise the user's epoch, and wait until auth-service has taken note of it."""
        user.epoch += 1
        await self.acknowledged(self.emit(user, keep_session=keep_session))

    async def acknowledged(self, event_id: int) -> None:
        async def outbox() -> dict[int, dict[str, Any]]:
            return self.events

        await eventually(outbox, lambda events: event_id not in events)

    async def _name_account(self, request: web.Request) -> web.StreamResponse:
        self.bearers.append(request.headers["Authorization"])
        if self.previous:
            raise web.HTTPNotFound
        if self.account_fault is not None:
            return await self.account_fault(request)
        meant = self._meant(msgspec.json.decode(await request.read())["login"])
        accounts = [f"nobody {name}" if user is None else f"user {user.id}" for name, user in meant]
        return web.json_response({"accounts": accounts})

    def _meant(self, login: str) -> list[tuple[str, User | None]]:
        """Each name that a login may mean, with its user if any, users first."""
        found = [(name, self.users.get(name)) for name in self.readings.get(login, [login])]
        return sorted(found, key=lambda one: one[1] is None)

    async def _check(self, request: web.Request) -> web.StreamResponse:
        self.bearers.append(request.headers["Authorization"])
        body = msgspec.json.decode(await request.read())
        if self.previous and body.keys() - {"login", "password", "login_type"}:
            raise web.HTTPUnprocessableEntity
        self.checks.append(body)
        if self.fault is not None:
            return await self.fault(request)
        user = self._meant(body["login"])[0][1]
        if user is None or user.password != body["password"]:
            return web.json_response({"user": None})
        answer = {"user": {"id": user.id, "email": user.email, "epoch": user.epoch}}
        if self.before_answer is not None:
            await self.before_answer(user)
        return web.json_response(answer)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.bearers.append(request.headers["Authorization"])
        await asyncio.sleep(self.before_events)
        if self.refuses_events:
            return web.Response(status=503)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        end = time.monotonic() + float(request.query["wait"])
        while not self.events and time.monotonic() < end:
            self._arrival.clear()
            if self.frozen:
                await asyncio.Event().wait()
            if self.refuses_events and request.transport is not None:
                request.transport.abort()
            await response.write(b" ")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), 0.2)
        await response.write(msgspec.json.encode({"events": list(self.events.values())}))
        return response

    async def _forget(self, request: web.Request) -> web.Response:
        self.bearers.append(request.headers["Authorization"])
        for event_id in msgspec.json.decode(await request.read())["ids"]:
            self.events.pop(event_id, None)
        return web.Response(status=204)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["UserService"]:
        app = web.Application()
        app.router.add_post("/internal/credentials/account", self._name_account)
        app.router.add_post("/internal/credentials/check", self._check)
        app.router.add_get("/internal/events", self._take)
        app.router.add_post("/internal/events/ack", self._forget)
        async with ServiceServer(app) as server:
            self.url = server.origin
            yield self
