"""Clients that log in, refresh and read continuously, and count every unexpected answer as a failure.

They send raw bytes: an HTTP library repeats some requests when a connection breaks, which would hide the failure.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from drivers import REFRESHING, Driver, Tokens
from exchange import JSON, bearer
from wire import Connection, Message, read_head, request_bytes

CLIENTS = 10
PAUSE = 0.03
PATIENCE = 15.0
PASSWORD = "steady as she goes"
READS = 8
LIVES_BETWEEN_LOGINS = 4


class SteadyClient:
    """Keeps its connection for as long as the gateway does, or opens one for each request.

    `done` counts successes; `failures` has each failure with its time.
    """

    def __init__(self, url: str, driver: Driver, *, keeps_alive: bool) -> None:
        self.done: Counter[str] = Counter()
        self.failures: list[tuple[str, str, str]] = []
        self._address = urlsplit(url)
        self._driver = driver
        self._email = f"steady-{secrets.token_hex(6)}@example.com"  # logins of one account share a place in the queue
        self._keeps_alive = keeps_alive
        self._connection: Connection | None = None

    async def begin(self) -> None:
        """Sign up and log in; the session is kept to the end, so that the client notices if it is logged out."""
        answer = await self._ask("POST", "/api/v1/users", {"user": {"email": self._email, "password": PASSWORD}})
        assert answer.status == 200, answer
        self._kept = await self._log_in()

    async def live_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for _ in range(LIVES_BETWEEN_LOGINS):
                for _ in range(READS):
                    await self._step("read", self._read)
                await self._step("refresh", self._refresh)
            await self._step("login", self._log_in)
        self._close()

    async def _step(self, name: str, request: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(PAUSE)
        try:
            await request()
        except (AssertionError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failures.append((time.strftime("%X"), name, repr(error)[:300]))
            self._close()
        else:
            self.done[name] += 1

    async def _read(self) -> None:
        answer = await self._ask("GET", "/api/v1/users/me", **bearer(self._kept.access_token))
        assert answer.status == 200, answer

    async def _log_in(self) -> Tokens:
        login = {self._driver.login_name: self._email, "password": PASSWORD}
        return await self._tokens(self._driver.password_request(**login))

    async def _refresh(self) -> None:
        members = {"grant_type": "refresh_token", **self._driver.client, "refresh_token": self._kept.refresh_token}
        self._kept = await self._tokens(members)

    async def _tokens(self, members: dict[str, Any]) -> Tokens:
        return self._driver.tokens(await self._ask("POST", self._driver.path, members))  # type: ignore[arg-type]

    async def _ask(self, method: str, target: str, members: object = None, **headers: str) -> Message:
        body = b"" if members is None else json.dumps(members).encode()
        headers |= {"Content-Type": JSON} if body else {}
        if self._connection is None:
            opened = await asyncio.open_connection(self._address.hostname, self._address.port)
            self._connection = Connection(*opened)
        await self._connection.send(request_bytes(method, target, *headers.items(), body=body))
        async with asyncio.timeout(PATIENCE):
            answer = await read_head(self._connection.reader)
            await answer.read_body(self._connection.reader)
        if not self._keeps_alive or answer.get("Connection") == "close":
            self._close()
        return answer

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.asynccontextmanager
async def steady_clients(url: str) -> AsyncIterator[list[SteadyClient]]:
    """Clients of several dialects that live as long as the context; every other one keeps its connection."""
    stop = asyncio.Event()
    clients = [
        SteadyClient(url, REFRESHING[number // 2 % len(REFRESHING)], keeps_alive=number % 2 == 0)
        for number in range(CLIENTS)
    ]
    for client in clients:
        await client.begin()
    async with asyncio.TaskGroup() as lives:
        for client in clients:
            lives.create_task(client.live_until(stop))
        await asyncio.sleep(2)
        try:
            yield clients
            await asyncio.sleep(2)
        finally:
            stop.set()


def done(clients: list[SteadyClient]) -> Counter[str]:
    return sum((client.done for client in clients), Counter())


def failures(clients: list[SteadyClient]) -> list[tuple[str, str, str]]:
    return [failure for client in clients for failure in client.failures]
