"""The addresses behind a name, asked for again all the time; the last good answer holds where none comes."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import structlog

from servicekit.pauses import pause

Address = tuple[str, int]
Resolve = Callable[[str, int], Awaitable[list[Address]]]

log = structlog.get_logger()


async def ask_system(host: str, port: int) -> list[Address]:
    """The addresses that getaddrinfo returns, each once. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(sockaddr[0]), int(sockaddr[1])) for *_, sockaddr in found))


class Resolver:
    """Tells `on_addresses` every answer that holds an address. An IP literal is its own and only answer."""

    def __init__(
        self, host: str, port: int, *, interval: float, resolve: Resolve, on_addresses: Callable[[list[Address]], None]
    ) -> None:
        self._host = host
        self._port = port
        self._interval = interval
        self._resolve = resolve
        self._on_addresses = on_addresses
        self._asked = asyncio.Event()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the first answer, but not for longer than until it would be asked for again."""
        if _is_literal(self._host):
            self._on_addresses([(self._host, self._port)])
            return
        self._task = asyncio.create_task(self._ask_for_ever())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await self._asked.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _ask_for_ever(self) -> None:
        while True:
            await self._ask()
            self._asked.set()
            await pause(self._interval)

    async def _ask(self) -> None:
        try:
            addresses = await self._resolve(self._host, self._port)
        except Exception as error:  # whatever it is, the name must be asked for again
            self._note(type(error).__name__)
            return
        self._note("" if addresses else "no address")
        if addresses:
            self._on_addresses(addresses)

    def _note(self, failure: str) -> None:
        """One line when a name stops being answered, and one when it is again."""
        if failure and not self._failing:
            log.warning("name not resolved", host=self._host, cause=failure)
        elif self._failing and not failure:
            log.info("name resolved again", host=self._host)
        self._failing = bool(failure)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
