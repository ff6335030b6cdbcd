"""With any replica frozen, revocations hold within two seconds, nobody waits two seconds, and no session ends."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from marks import needs_own_stack
from operations import until
from replicated import CLIENT, Replica, ReplicatedStack, replicated

pytestmark = needs_own_stack

AT_ONCE = 4
BOUND = 2.0
PASSWORD = "a password that nobody guesses"


@pytest.fixture(scope="module")
def databases(create_database: Callable[[], str]) -> tuple[str, str]:
    return create_database(), create_database()


@pytest.fixture(scope="module")
async def frozen_stack(
    databases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ReplicatedStack]:
    async with replicated(*databases, tmp_path_factory.mktemp("replicas")) as stack:
        yield stack


@pytest.fixture
async def http(frozen_stack: ReplicatedStack) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(frozen_stack.url, connector=connector) as session:
        yield session


class Person:
    """A user, with a record of each request: method and path, time taken, status."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.email = f"{secrets.token_hex(8)}@example.com"
        self.id = 0
        self.waits: list[tuple[str, float, int]] = []

    async def send(self, method: str, path: str, token: str = "", **how: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        started = time.monotonic()
        async with self._http.request(method, path, headers=headers, **how) as response:
            body = await response.json() if response.content_type == "application/json" else await response.text()
            self.waits.append((f"{method} {path}", time.monotonic() - started, response.status))
            return response.status, body

    async def sign_up(self) -> "Person":
        user = {"user": {"email": self.email, "password": PASSWORD}}
        status, body = await self.send("POST", "/api/v1/users", json=user)
        assert status == 200, body
        self.id = body["id"]
        return self

    async def token(self, **grant: str) -> tuple[int, Any]:
        return await self.send("POST", "/oauth/token", data={**grant, **CLIENT})

    async def log_in(self) -> Any:
        status, body = await self.token(grant_type="password", username=self.email, password=PASSWORD)
        assert status == 200, body
        return body

    async def is_let_in(self, access_token: str) -> bool:
        status, _ = await self.send("GET", "/api/v1/users/me", access_token)
        assert status in (200, 401)
        return status == 200


async def persons(http: aiohttp.ClientSession, number: int) -> list[Person]:
    """Sign up three at a time: on a slow machine, user-service refuses a part of many sign-ups from one network."""
    people: list[Person] = []
    for first in range(0, number, 3):
        people += await asyncio.gather(*(Person(http).sign_up() for _ in range(min(3, number - first))))
    return people


async def revoked_after(http: aiohttp.ClientSession, freeze: Callable[[], None], begin: asyncio.Barrier) -> float:
    """Seconds for which another session was still accepted after the password change was acknowledged."""
    person = await Person(http).sign_up()
    acting, other = [(await person.log_in())["access_token"] for _ in range(2)]
    assert await person.is_let_in(other)
    if await begin.wait() == 0:
        freeze()
    await asyncio.sleep(0.05 + secrets.randbelow(1500) / 1000)
    while not await change_password(person, acting):
        person = await Person(http).sign_up()
        acting, other = [(await person.log_in())["access_token"] for _ in range(2)]
    acknowledged = time.monotonic()
    while await person.is_let_in(other):
        assert time.monotonic() - acknowledged < 10
        await asyncio.sleep(0.02)
    seconds = time.monotonic() - acknowledged
    assert await person.is_let_in(acting)
    assert [wait for wait in person.waits if wait[1] >= BOUND] == []
    return seconds


async def change_password(person: Person, access_token: str) -> bool:
    """True if the change was acknowledged: the replica that received it may have frozen."""
    status, body = await person.send(
        "POST",
        f"/api/v1/users/{person.id}/password",
        access_token,
        json={"current_password": PASSWORD, "password": "another that nobody guesses"},
    )
    assert status in (204, 504), body
    return status == 204


@pytest.mark.parametrize("kind", ["auth", "users"])
async def test_a_password_change_ends_other_sessions_whichever_replica_is_frozen(
    frozen_stack: ReplicatedStack, http: aiohttp.ClientSession, kind: str
) -> None:
    replicas: list[Replica] = getattr(frozen_stack, kind)
    for replica in replicas:
        begin = asyncio.Barrier(AT_ONCE)
        try:
            seconds = await asyncio.gather(*(revoked_after(http, replica.freeze, begin) for _ in range(AT_ONCE)))
        finally:
            replica.thaw()
        await replica.ready(http)
        assert max(seconds) <= BOUND, replica.name


async def test_an_auth_service_that_waits_for_frozen_user_services_is_not_left_out(
    frozen_stack: ReplicatedStack, http: aiohttp.ClientSession
) -> None:
    people = await persons(http, AT_ONCE)
    before = len(frozen_stack.gateway.output)
    for replica in frozen_stack.users:
        replica.freeze()
    try:
        logins = [asyncio.create_task(person.log_in()) for person in people]
        await asyncio.wait(logins, timeout=3)
    finally:
        for replica in frozen_stack.users:
            replica.thaw()
    for login in logins:
        login.cancel()
    await asyncio.gather(*logins, return_exceptions=True)
    written = [line for line in frozen_stack.gateway.output[before:].splitlines() if "auth.test" in line]
    assert [line for line in written if "replica hangs" in line or "replica ejected" in line] == []
    assert any("user events are late" in replica.output for replica in frozen_stack.auth)


async def test_events_that_are_late_are_told(frozen_stack: ReplicatedStack, http: aiohttp.ClientSession) -> None:
    (auth, *_) = frozen_stack.auth

    async def readiness() -> tuple[int, Any]:
        async with http.get(f"{auth.url}/readyz") as response:
            return response.status, await response.json()

    async def becomes(wanted: tuple[int, Any]) -> None:
        async def look() -> bool:
            return await readiness() == wanted

        await until(look, 5)

    await becomes((200, {"status": "ok"}))
    for replica in frozen_stack.users:
        replica.freeze()
    try:
        await becomes((200, {"status": "degraded", "reasons": ["user events are late"]}))
    finally:
        for replica in frozen_stack.users:
            replica.thaw()
    await becomes((200, {"status": "ok"}))

    async def told() -> bool:
        return "user events flow again" in auth.output

    await until(told, 5)


async def refresh_until(person: Person, stop: asyncio.Event) -> None:
    """Use refresh tokens in succession; repeat with the same one if the answer was not a success."""
    token = (await person.log_in())["refresh_token"]
    while not stop.is_set():
        status, body = await person.token(grant_type="refresh_token", refresh_token=token)
        assert status in (200, 502, 503, 504), body
        token = body["refresh_token"] if status == 200 else token
        await asyncio.sleep(0.05)
    status, body = await person.token(grant_type="refresh_token", refresh_token=token)
    assert status == 200, body


async def test_a_freeze_while_the_other_replica_comes_back_ends_no_session(
    frozen_stack: ReplicatedStack, http: aiohttp.ClientSession
) -> None:
    returning, frozen = frozen_stack.auth
    people = await persons(http, 3 * AT_ONCE)
    stop = asyncio.Event()
    lives = [asyncio.create_task(refresh_until(person, stop)) for person in people]
    try:
        await asyncio.sleep(1)
        await returning.kill()
        await asyncio.sleep(1)  # the gateway has ejected it by now, for ten seconds
        await returning.start(http)
        frozen.freeze()
        await asyncio.sleep(5)
        stop.set()
        await asyncio.gather(*lives)
    finally:
        for life in lives:
            life.cancel()
        await frozen.kill()
        await frozen.start(http)
    waits = [wait for person in people for wait in person.waits if "token" in wait[0]]
    assert len(waits) > 200
    assert [wait for wait in waits if wait[1] >= BOUND] == []
    assert [wait for wait in waits if wait[2] not in (200, 502)] == []
