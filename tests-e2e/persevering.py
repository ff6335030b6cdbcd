"""Clients that live through outages: they repeat each request until it is answered, and record the answers."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiohttp

from drivers import REFRESHING, RFC6749, Driver
from exchange import Reply, bearer, post_form, post_json, send

RETRYABLE = (502, 503, 504)
PATIENCE = 30.0
PAUSE = 0.05
# A change that ends sessions waits this long for auth-service to acknowledge it, and is answered in any case.
HEARD_WITHIN = 2.0
ENDS = ("revoke the access token", "revoke the refresh token", "log out", "change the password", "delete the user")


@dataclass
class Session:
    """A login of `email` with its latest tokens."""

    driver: Driver
    email: str
    access_token: str
    refresh_token: str


@dataclass
class Ledger:
    """Everything acknowledged: passwords in force by e-mail address, deleted users, live sessions and ended ones."""

    passwords: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    live: list[Session] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)


@dataclass
class Answer:
    """The answer to a request; with `repeated`, an earlier attempt may have been carried out too."""

    reply: Reply
    repeated: bool
    seconds: float


# The connections that the request in hand has used so far, one after the other.
_CONNECTIONS: ContextVar[list[object]] = ContextVar("connections")


def persevering_session(url: str) -> aiohttp.ClientSession:
    """A session that counts the connections of each request: aiohttp repeats a DELETE whose connection was lost."""
    trace = aiohttp.TraceConfig()

    async def count(_session: aiohttp.ClientSession, _context: object, parameters: object) -> None:
        _CONNECTIONS.get([]).append(parameters)

    trace.on_connection_create_end.append(count)
    trace.on_connection_reuseconn.append(count)
    timeout = aiohttp.ClientTimeout(total=15)
    return aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, trace_configs=[trace])


class PerseveringClient:
    """Signs up, logs in, refreshes and ends sessions, and fails when an answer is wrong."""

    _numbers = itertools.count(1)

    def __init__(self, http: aiohttp.ClientSession, ledger: Ledger) -> None:
        self._http = http
        self._ledger = ledger
        self.failures: list[tuple[float, str]] = []
        self.last_life_began = 0.0

    async def live_until(self, stop: asyncio.Event) -> None:
        """Live one life after another."""
        while not stop.is_set():
            began = time.monotonic()
            await self._life(next(self._numbers))
            self.last_life_began = began

    async def _life(self, number: int) -> None:
        email, password = f"life-{number}@example.com", f"the password of life {number}"
        await self._sign_up(email, password)
        kept = await self.log_in(email, password, REFRESHING[number % len(REFRESHING)])
        ended = await self.log_in(email, password, REFRESHING[number // len(REFRESHING) % len(REFRESHING)])
        for session in (kept, kept, ended):
            await self.refresh(session)
        await self.must_be_accepted(kept)
        end = ENDS[number % len(ENDS)]
        await self._end(end, ended, kept)
        if end == "delete the user":
            await self.must_be_refused(kept)
            self._ledger.ended.append(kept)
            self._ledger.gone[email] = self._ledger.passwords.pop(email)
        else:
            await self.must_be_accepted(kept)
            self._ledger.live.append(kept)
        self._ledger.ended.append(ended)

    async def _sign_up(self, email: str, password: str) -> None:
        body = {"user": {"email": email, "password": password}}
        answer = await self.answer(lambda: post_json(self._http, "/api/v1/users", body))
        taken_by_itself = answer.repeated and answer.reply.status == 409
        assert answer.reply.status == 200 or taken_by_itself, answer.reply
        self._note("sign-up")
        self._ledger.passwords[email] = password

    async def log_in(self, email: str, password: str, driver: Driver) -> Session:
        """Open a session, and check that its access token is accepted."""
        request = driver.password_request(**{driver.login_name: email, "password": password})
        reply = (await self.answer(lambda: post_json(self._http, driver.path, request))).reply
        tokens = driver.tokens(reply)
        self._note("login")
        session = Session(driver, email, tokens.access_token, tokens.refresh_token or "")
        await self.must_be_accepted(session)
        return session

    async def refresh(self, session: Session) -> None:
        """Exchange the current refresh token, which must be accepted however often the request is repeated."""
        spent = session.refresh_token
        reply = (await self.answer(lambda: session.driver.refresh(self._http, spent))).reply
        tokens = session.driver.tokens(reply)
        assert tokens.refresh_token not in (spent, None)
        session.access_token, session.refresh_token = tokens.access_token, str(tokens.refresh_token)
        self._note("refresh")

    async def must_be_accepted(self, session: Session) -> None:
        """Check that the access token gets its user's record."""
        reply = (await self.answer(lambda: session.driver.me(self._http, session.access_token))).reply
        assert reply.status == 200, (session, reply)
        assert reply.json()["email"] == session.email

    async def must_be_refused(self, session: Session) -> None:
        """Check that both the access token and the refresh token are refused."""
        reply = (await self.answer(lambda: session.driver.me(self._http, session.access_token))).reply
        assert reply.status == 401, (session, reply)
        reply = (await self.answer(lambda: session.driver.refresh(self._http, session.refresh_token))).reply
        assert reply.status in (400, 401), (session, reply)
        assert reply.json()["error"] == "invalid_grant", (session, reply)

    async def must_not_log_in(self, email: str, password: str) -> None:
        request = RFC6749.password_request(username=email, password=password)
        RFC6749.assert_error(
            (await self.answer(lambda: post_json(self._http, RFC6749.path, request))).reply, 400, "invalid_grant"
        )

    async def _end(self, end: str, ended: Session, kept: Session) -> None:
        """End a session in one of the ways, and check that its tokens are refused after the acknowledgement."""
        match end:
            case "revoke the access token":
                await self._revoke(ended, ended.access_token)
            case "revoke the refresh token":
                await self._revoke(ended, ended.refresh_token)
            case "log out":
                answer = await self.answer(lambda: self._as_user(ended, "DELETE", "/api/v1/sessions/current"))
                assert answer.reply.status == 204 or (answer.repeated and answer.reply.status == 401), answer
            case "change the password":
                await self._change_password(kept, ended)
            case "delete the user":
                path = f"/api/v1/users/{await self._user_id(kept)}"
                answer = await self.answer(lambda: self._as_user(kept, "DELETE", path))
                assert answer.reply.status == 204 or (answer.repeated and answer.reply.status == 401), answer
                await self._until_heard(answer, ended, kept)
        self._note(end)
        await self.must_be_refused(ended)

    async def _revoke(self, session: Session, token: str) -> None:
        form = {**session.driver.identity, "token": token}
        reply = (await self.answer(lambda: post_form(self._http, "/oauth/revoke", form))).reply
        assert reply.status == 200, reply

    async def _change_password(self, kept: Session, ended: Session) -> None:
        path = f"/api/v1/users/{await self._user_id(kept)}/password"
        current = self._ledger.passwords[kept.email]
        new = f"{current}, changed"
        body = {"current_password": current, "password": new}
        answer = await self.answer(lambda: post_json(self._http, path, body, bearer(kept.access_token)))
        changed_before = answer.repeated and answer.reply.status == 422
        assert answer.reply.status == 204 or changed_before, answer
        self._ledger.passwords[kept.email] = new
        await self._until_heard(answer, ended)

    async def _until_heard(self, answer: Answer, *ended: Session) -> None:
        """Wait for sessions to end if auth-service may not have been told in time; it learns of the event soon."""
        if not answer.repeated and answer.seconds < HEARD_WITHIN:
            return
        self._note("heard of late")
        deadline = time.monotonic() + PATIENCE
        for session in ended:
            while await self._lives(session):
                assert time.monotonic() < deadline, session
                await asyncio.sleep(PAUSE)

    async def _lives(self, session: Session) -> bool:
        """True if auth-service accepts the access token on a route of its own, without user-service."""
        reply = (await self.answer(lambda: self._as_user(session, "GET", "/api/v1/sessions"))).reply
        assert reply.status in (200, 401), reply
        return reply.status == 200

    async def _user_id(self, session: Session) -> int:
        reply = (await self.answer(lambda: session.driver.me(self._http, session.access_token))).reply
        assert reply.status == 200, reply
        return int(reply.json()["id"])

    async def _as_user(self, session: Session, method: str, path: str) -> Reply:
        return await send(self._http, method, path, bearer(session.access_token))

    async def answer(self, request: Callable[[], Awaitable[Reply]]) -> Answer:
        """Repeat the request until the answer is something other than a failure of the server."""
        started = time.monotonic()
        repeated = False
        while True:
            sent_at = time.monotonic()
            connections: list[object] = []
            _CONNECTIONS.set(connections)
            try:
                reply = await request()
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
                cause = " ".join([type(error).__name__, *getattr(error, "__notes__", ())])
            else:
                if reply.status not in RETRYABLE:
                    return Answer(reply, repeated or len(connections) > 1, time.monotonic() - sent_at)
                assert reply.status != 503 or "Retry-After" in reply.headers, reply
                cause = f"{reply.status} {reply.request} {reply.body.decode(errors='replace')}"
            self.failures.append((time.monotonic(), cause))
            assert time.monotonic() - started < PATIENCE, cause
            repeated = True
            await asyncio.sleep(PAUSE)

    def _note(self, step: str) -> None:
        self._ledger.done[step] += 1
