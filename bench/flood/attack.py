"""The parts that all attacks share: the target, sending, and the record of responses."""

import abc
import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from bench.flood.arrivals import milliseconds_since
from bench.flood.honest import unchecked_tls
from bench.http_load import Connection

# Seconds that an attacker's worker waits after a refusal: without a pause, the generator alone would use up a core.
REFUSED_PAUSE = 0.2
MOST_CONNECTIONS = 2000
PATIENCE = 30.0


@dataclass(frozen=True)
class Aim:
    """The target of an attack, and the attacker's means: an account, a session, and addresses of one network.

    `hash_rate` is the number of passwords that this machine hashes per second when the stack is idle, or 0 if unknown.
    """

    host: str
    port: int
    tls: bool
    addresses: list[str]
    login: str
    password: str
    user_id: int
    access_token: str
    refresh_token: str
    hash_rate: float


class Attack(abc.ABC):
    """An attack from one network that runs until cancelled. The docstring of a subclass describes it in the report.

    `gateway` are settings of the attacked gateway, `open_files` its limit on open files. With `by_hash_rate`, the rate
    of hashes is measured before and after. Honest clients start `lead` seconds after `begun` is set.
    """

    gateway: ClassVar[tuple[tuple[str, str], ...]] = ()
    open_files: ClassVar[int | None] = None
    tls: ClassVar[bool] = False
    ipv6: ClassVar[bool] = False
    web_sockets: ClassVar[bool] = False
    by_hash_rate: ClassVar[bool] = False
    lead: ClassVar[float] = 1.0

    def __init__(self, aim: Aim) -> None:
        self.aim = aim
        self.begun = asyncio.Event()
        self.begun.set()
        self.times: dict[str, list[float]] = defaultdict(list)  # milliseconds by outcome
        self._tls = unchecked_tls() if aim.tls else None
        self._addresses = itertools.cycle(aim.addresses)
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)

    @abc.abstractmethod
    async def run(self) -> None:
        """Attack until the task is cancelled."""

    def outcomes(self) -> dict[str, list[float]]:
        """Milliseconds by outcome: a status, or words for anything else."""
        return self.times

    def note(self, outcome: int | str, milliseconds: float = 0.0) -> None:
        self.times[str(outcome)].append(milliseconds)

    async def connect(self) -> Connection:
        """A connection from the next of the attacker's addresses."""
        source = (next(self._addresses), 0)
        return await Connection.open(self.aim.port, self.aim.host, local_addr=source, ssl=self._tls)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from the next address, as streams."""
        source = (next(self._addresses), 0)
        return await asyncio.open_connection(self.aim.host, self.aim.port, local_addr=source, ssl=self._tls)

    async def ask_on(self, connection: Connection, request: bytes) -> tuple[int, bytes]:
        started = time.perf_counter()
        status, body = await connection.exchange(request)
        self.note(status, milliseconds_since(started))
        return status, body

    async def send(self, request: bytes, due: float) -> None:
        """Send a request over an idle connection or a new one; `arrivals` calls this."""
        async with self._slots:
            try:
                async with asyncio.timeout(PATIENCE):
                    connection = self._idle.pop() if self._idle else await self.connect()
                    status, _ = await connection.exchange(request)
                self._idle.append(connection)
                self.note(status, milliseconds_since(due))
            except (OSError, EOFError):
                self.note("broken", milliseconds_since(due))

    async def keep_asking(self, make: Callable[[], bytes], respond: Callable[[bytes], None] = lambda _: None) -> None:
        """Send one request after another, on a new connection if one broke; pause after each refusal."""
        while True:
            try:
                connection = await self.connect()
                while True:
                    status, body = await self.ask_on(connection, make())
                    if status >= 400:
                        await asyncio.sleep(REFUSED_PAUSE)
                    else:
                        respond(body)
            except (OSError, EOFError):
                self.note("broken")
                await asyncio.sleep(REFUSED_PAUSE)
