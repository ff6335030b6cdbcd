"""Clients of the steady load: each signs a user up and then repeats one kind of operation."""

import asyncio
import contextlib
import itertools
import secrets
import time
from dataclasses import dataclass

from doors import Answer, Doors, Request
from drivers import Driver
from exchange import Reply, bearer, post_form, post_json, send
from ledger import Attempt, LostError

REVOKED_WITHIN = 2.0
# Seconds within which a write that was started in time reaches the database.
LATE = 0.5
CALM = 2.0
# In seconds. A login permits name changes for five minutes.
LOGIN_IS_KEPT = 200.0


@dataclass
class User:
    id: int
    email: str
    password: str


@dataclass
class Session:
    driver: Driver
    user: User
    access_token: str
    refresh_token: str


def _sign_up() -> tuple[str, str, Request]:
    """A new e-mail address, a password, and the request that signs the user up."""
    email, password = f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(9)
    body = {"user": {"email": email, "password": password}}
    return email, password, lambda http: post_json(http, "/api/v1/users", body)


class Client:
    """One client. It waits `patience` seconds for a response, and `pause` seconds between turns."""

    pause = 0.2

    def __init__(self, name: str, doors: Doors, driver: Driver, patience: float) -> None:
        self.name = name
        self.turns = 0
        self._doors = doors
        self._ledger = doors.ledger
        self._driver = driver
        self._patience = patience
        self._numbers = itertools.count(1)

    async def live(self, stop: asyncio.Event, entrance: asyncio.Semaphore) -> None:
        """Take one turn after another. A client that has lost its session starts over as another user.

        `entrance` limits how many start at a time: more would be a flood of sign-ups from one address, some of which
        the hashing queue would refuse.
        """
        async with entrance:
            await self.begin()
        while not stop.is_set():
            try:
                await self.turn()
            except LostError:
                await self._begin_again(stop)
            else:
                self.turns += 1
                await asyncio.sleep(self.pause)

    async def _begin_again(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(LostError):
                await self.begin()
                break

    async def begin(self) -> None:
        self.user = await self.sign_up()
        self.session = await self.log_in(self.user)

    async def turn(self) -> None:
        raise NotImplementedError

    async def audit(self) -> None:
        """After recovery, check that what was acknowledged holds."""
        await self.must_be_accepted(self.session)

    def fail(self, promise: str, *attempts: Attempt) -> LostError:
        """Note a broken promise; returns the exception to raise."""
        self._ledger.broken(promise, *attempts)
        return LostError(promise)

    async def answer(self, operation: str, subject: int | str, argument: str, request: Request) -> Answer:
        return await self._doors.answer(self.name, self._patience, (operation, subject, argument), request)

    async def try_once(
        self, operation: str, subject: int | str, argument: str, request: Request
    ) -> tuple[Attempt, Reply | None]:
        """Send a request once, and do not repeat it if it fails."""
        attempt, reply, _ = await self._doors.attempt(
            self.name, self._patience, (operation, subject, argument), request
        )
        return attempt, reply

    async def sign_up(self) -> User:
        """Sign a user up. An address that an unanswered attempt may have registered is not used again."""
        while True:
            email, password, request = _sign_up()
            answer = await self.answer("sign-up", email, email, request)
            if answer.reply.status == 200:
                return User(answer.reply.json()["id"], email, password)
            if not (answer.repeated and answer.reply.status == 409):
                self._ledger.broken("a sign-up is refused", answer.attempt)

    async def log_in(self, user: User) -> Session:
        request = self._driver.password_request(**{self._driver.login_name: user.email, "password": user.password})
        answer = await self.answer("login", user.id, "", lambda http: post_json(http, self._driver.path, request))
        if answer.reply.status != self._driver.status:
            raise self.fail("the right password is refused", answer.attempt)
        tokens = self._driver.tokens(answer.reply)
        return Session(self._driver, user, tokens.access_token, str(tokens.refresh_token))

    async def must_be_accepted(self, session: Session) -> None:
        """Check that the access token is accepted."""
        answer = await self.answer(
            "read", session.user.id, "", lambda http: session.driver.me(http, session.access_token)
        )
        if answer.reply.status != 200:
            raise self.fail("a good access token is refused", answer.attempt)

    async def must_be_refused_soon(self, session: Session, ended: Attempt) -> None:
        """Check that no request with the access token is accepted that is sent two seconds after `ended`, or later."""
        while True:
            probe, _ = await self.try_once(
                "probe", session.user.id, "", lambda http: session.driver.me(http, session.access_token)
            )
            if probe.outcome == 401:
                return
            if probe.outcome == 200 and probe.start > ended.end + REVOKED_WITHIN:
                late = probe.start - ended.end
                self._ledger.broken(
                    f"a revoked token is accepted {late:.1f} s after the revocation was acknowledged", ended, probe
                )
                return
            await asyncio.sleep(0.05)


class Refresher(Client):
    """Refreshes, at another gateway if the first did not respond, and reads now and then."""

    async def turn(self) -> None:
        session, spent = self.session, self.session.refresh_token
        answer = await self.answer("refresh", session.user.id, spent, lambda http: session.driver.refresh(http, spent))
        if answer.reply.status != 200:
            before = [one for one in self._ledger.of("refresh", session.user.id) if one is not answer.attempt][-4:]
            raise self.fail("a session is lost: its refresh token is refused", *before, answer.attempt)
        tokens = session.driver.tokens(answer.reply)
        session.access_token, session.refresh_token = tokens.access_token, str(tokens.refresh_token)
        self._ledger.successor(spent, session.refresh_token, answer.attempt)
        if next(self._numbers) % 4 == 0:
            await self.must_be_accepted(session)

    async def audit(self) -> None:
        await self.turn()


class Reader(Client):
    """Reads its own user record with one access token."""

    pause = 0.1

    async def turn(self) -> None:
        await self.must_be_accepted(self.session)


class Visitor(Client):
    """Logs in, reads, and ends the session in one of three ways."""

    async def turn(self) -> None:
        session = await self.log_in(self.user)
        await self.must_be_accepted(session)
        await self.must_be_refused_soon(session, await self._revoke(session, next(self._numbers) % 3))

    async def _revoke(self, session: Session, way: int) -> Attempt:
        token = (session.access_token, session.refresh_token)[way % 2]
        form = {**session.driver.identity, "token": token}
        headers = bearer(session.access_token)
        request: Request = (
            (lambda http: send(http, "DELETE", "/api/v1/sessions/current", headers))
            if way == 2
            else (lambda http: post_form(http, "/oauth/revoke", form))
        )
        answer = await self.answer("revocation", session.user.id, "", request)
        done_before = way == 2 and answer.repeated and answer.reply.status == 401
        if answer.reply.status not in (200, 204) and not done_before:
            raise self.fail("a revocation is refused", answer.attempt)
        return answer.attempt


class PasswordChanger(Client):
    """Changes its password, which ends its other session. After a failure it finds out which password is valid."""

    async def begin(self) -> None:
        await super().begin()
        self.other = await self.log_in(self.user)

    async def turn(self) -> None:
        new = secrets.token_urlsafe(9)
        body = {"current_password": self.user.password, "password": new}
        path, headers = f"/api/v1/users/{self.user.id}/password", bearer(self.session.access_token)
        attempt, _ = await self.try_once(
            "password change", self.user.id, new, lambda http: post_json(http, path, body, headers)
        )
        if attempt.outcome == 204:
            self.user.password = new
            await self.must_be_refused_soon(self.other, attempt)
        elif attempt.failed:
            await self._find_out(new)
        else:
            raise self.fail("a password change is refused", attempt)
        self.other = await self.log_in(self.user)

    async def _find_out(self, new: str) -> None:
        """Check that the password that is valid soon after a failed change stays valid."""
        await asyncio.sleep(LATE)
        request = self._driver.password_request(**{self._driver.login_name: self.user.email, "password": new})
        answer = await self.answer("login", self.user.id, new, lambda http: post_json(http, self._driver.path, request))
        if answer.reply.status == self._driver.status:
            self.user.password = new
        await self.log_in(self.user)
        await asyncio.sleep(CALM)

    async def audit(self) -> None:
        await self.log_in(self.user)


class NameChanger(Client):
    """Sets one user name after another, each once, and does not repeat a failed change.

    It logs in again before its login becomes too old for name changes.
    """

    async def log_in(self, user: User) -> Session:
        self._logged_in_at = time.monotonic()
        return await super().log_in(user)

    async def turn(self) -> None:
        if time.monotonic() - self._logged_in_at > LOGIN_IS_KEPT:
            self.session = await self.log_in(self.user)
        name = f"n{secrets.token_hex(8)}"
        path, headers = f"/api/v1/users/{self.user.id}", bearer(self.session.access_token)
        body = {"user": {"username": name}}
        attempt, _ = await self.try_once(
            "name change", self.user.id, name, lambda http: post_json(http, path, body, headers, method="PATCH")
        )
        if not (attempt.outcome == 200 or attempt.failed):
            raise self.fail("a change of name is refused", attempt)


class Newcomers(Client):
    """Signs up one user after another, each once."""

    def __init__(self, name: str, doors: Doors, driver: Driver, patience: float) -> None:
        super().__init__(name, doors, driver, patience)
        self._signed_up: list[User] = []

    async def turn(self) -> None:
        email, password, request = _sign_up()
        attempt, reply = await self.try_once("sign-up", email, email, request)
        if reply is not None and reply.status == 200:
            self._signed_up.append(User(reply.json()["id"], email, password))
        elif not attempt.failed:
            raise self.fail("a sign-up is refused", attempt)

    async def audit(self) -> None:
        """Check that the users who signed up last can log in."""
        for user in self._signed_up[-8:]:
            await self.log_in(user)
