"""The steady load: clients of each kind that work for as long as a fault is watched."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from clients import Client, NameChanger, Newcomers, PasswordChanger, Reader, Refresher, Visitor
from doors import Doors
from drivers import REFRESHING
from ledger import LostError

# In seconds. Impatient clients then ask another gateway; patient ones wait for the gateway's 504.
IMPATIENT, PATIENT = 2.0, 35.0
KINDS: tuple[tuple[type[Client], int, int], ...] = (
    (Refresher, 4, 3),
    (Reader, 1, 1),
    (Visitor, 1, 1),
    (PasswordChanger, 1, 1),
    (NameChanger, 1, 1),
    (Newcomers, 1, 0),
)
WARM, WARM_WITHIN = 2, 30.0
AT_A_TIME = 3
LOOK_EVERY = 0.05


class Load:
    """The clients. `latest` is the event loop's greatest delay in seconds; a large one means a busy machine."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.ledger = doors.ledger
        self.latest = 0.0
        self._stop = asyncio.Event()
        self.clients = [
            kind(f"{kind.__name__}-{number} ({patience:.0f} s)", doors, REFRESHING[number % len(REFRESHING)], patience)
            for kind, impatient, patient in KINDS
            for number, patience in enumerate([IMPATIENT] * impatient + [PATIENT] * patient)
        ]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all clients. Enters once each has taken some turns; on exit, each finishes its turn."""
        entrance = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            aside = [group.create_task(self.doors.watch()), group.create_task(self._look_at_loop())]
            for client in self.clients:
                group.create_task(client.live(self._stop, entrance))
            warm = await self.until(lambda: all(client.turns >= WARM for client in self.clients), WARM_WITHIN)
            assert warm, "clients make no progress, although there is no fault yet"
            try:
                yield
            finally:
                self._stop.set()
                for task in aside:
                    task.cancel()

    async def until(self, check: Callable[[], bool], seconds: float) -> bool:
        """Wait until `check()` is true, for at most `seconds`; returns its last result."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not check():  # noqa: ASYNC110 - any turn of any client may make it true
                    await asyncio.sleep(LOOK_EVERY)
        return check()

    async def has_turned(self, times: int, seconds: float) -> bool:
        """Wait until every client has taken `times` more turns."""
        goals = {client: client.turns + times for client in self.clients}
        return await self.until(lambda: all(client.turns >= goal for client, goal in goals.items()), seconds)

    async def audit(self) -> None:
        """After the load has stopped, check that everything acknowledged still holds."""
        for client in self.clients:
            with contextlib.suppress(LostError):
                await client.audit()

    async def _look_at_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_EVERY)
            self.latest = max(self.latest, time.monotonic() - before - LOOK_EVERY)
