"""The gateways behind a load balancer: requests go to those that say they are ready."""

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from exchange import Reply
from ledger import FAILURES, Attempt, Ledger, LostError

LOOK_EVERY = 0.25
LOOK_TIMEOUT = aiohttp.ClientTimeout(total=0.75)
PAUSE = 0.1
LONGEST_PAUSE = 0.5
GIVES_UP_AFTER = 150.0

Request = Callable[[aiohttp.ClientSession], Awaitable[Reply]]


@dataclass
class Door:
    """One gateway: an HTTP session with it, and the URL of its `/readyz`."""

    name: str
    http: aiohttp.ClientSession
    ready_url: str
    ready: bool = True


@dataclass
class Answer:
    """A response that is not a failure. `repeated` means that an earlier attempt may have been executed too."""

    reply: Reply
    attempt: Attempt
    repeated: bool


class Doors:
    """The load balancer that all clients use."""

    def __init__(self, doors: list[Door], ledger: Ledger) -> None:
        self.ledger = ledger
        self._doors = doors
        self._turn = itertools.count()

    async def watch(self) -> None:
        """Poll the readiness of every gateway until cancelled."""
        async with aiohttp.ClientSession(timeout=LOOK_TIMEOUT) as session:
            while True:
                await asyncio.gather(*(self._look(session, door) for door in self._doors))
                await asyncio.sleep(LOOK_EVERY)

    async def _look(self, session: aiohttp.ClientSession, door: Door) -> None:
        """A gateway is ready if it says so and responds on the clients' route, where 404 counts as a response."""
        try:
            async with session.get(door.ready_url) as ready, door.http.get("/", timeout=LOOK_TIMEOUT):
                door.ready = ready.status == 200
        except (aiohttp.ClientError, OSError):
            door.ready = False

    def _next(self, *, but: Door | None = None) -> Door:
        """The next ready gateway, if possible not `but`; any gateway if none is ready."""
        ready = [door for door in self._doors if door.ready] or self._doors
        others = [door for door in ready if door is not but] or ready
        return others[next(self._turn) % len(others)]

    async def attempt(
        self, client: str, patience: float, what: tuple[str, int | str, str], request: Request, but: Door | None = None
    ) -> tuple[Attempt, Reply | None, Door]:
        """Send a request once. A gateway that refuses the connection is skipped, because nothing was sent to it."""
        for _ in self._doors:
            door = self._next(but=but)
            attempt = self.ledger.begin(client, *what, door.name)
            reply = None
            try:
                async with asyncio.timeout(patience):
                    reply = await request(door.http)
                attempt.outcome = reply.status
            except aiohttp.ClientConnectorError as error:
                attempt.outcome, attempt.answer = "refused", str(error)
                door.ready, but = False, door
            except TimeoutError:
                attempt.outcome = "timeout"
            except (aiohttp.ClientError, OSError) as error:
                attempt.outcome, attempt.answer = "reset", type(error).__name__
            attempt.end = time.time()
            if attempt.outcome != "refused":
                break
            if any(other.ready for other in self._doors):
                self.ledger.attempts.remove(attempt)
        if reply is not None and reply.status >= 400:
            attempt.answer = reply.body[:160].decode("utf-8", "replace")
            if reply.status == 503 and "Retry-After" not in reply.headers:
                self.ledger.broken("503 without Retry-After", attempt)
        return attempt, reply, door

    async def answer(self, client: str, patience: float, what: tuple[str, int | str, str], request: Request) -> Answer:
        """Send a request, each time to another gateway, until the response is not a failure."""
        started, door, pause = time.monotonic(), None, PAUSE
        repeated = False
        while True:
            attempt, reply, door = await self.attempt(client, patience, what, request, door)
            if reply is not None and reply.status not in FAILURES:
                return Answer(reply, attempt, repeated)
            if time.monotonic() - started > GIVES_UP_AFTER:
                self.ledger.broken(f"not answered in {GIVES_UP_AFTER:g} s", attempt)
                raise LostError
            repeated = repeated or attempt.outcome != "refused"
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


@contextlib.asynccontextmanager
async def opened(
    gateways: dict[str, tuple[str, str]], ledger: Ledger, context: ssl.SSLContext | None
) -> AsyncIterator[Doors]:
    """Doors to `gateways`: by name, the base URL and the URL of `/readyz`.

    With a `context`, every request has its own connection, and so its own TLS handshake.
    """
    async with contextlib.AsyncExitStack() as sessions:
        doors = []
        for name, (url, ready_url) in gateways.items():
            session = aiohttp.ClientSession(
                url,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=0, ssl=context or True, force_close=context is not None),
            )
            doors.append(Door(name, await sessions.enter_async_context(session), ready_url))
        yield Doors(doors, ledger)
