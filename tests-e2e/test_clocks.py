"""A replica with a wrong clock harms nobody: the databases' clock decides."""

import asyncio
import contextlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from dev import testing
from drivers import DRIVERS, REFRESHING, Driver, Tokens
from exchange import bearer, send
from marks import needs_own_stack
from operations import connect, until
from second_replicas import second

DAY = 86400
EXPIRED_SESSION = """
    INSERT INTO sessions (id, client_id, scope, idle_expires_at, expires_at) VALUES (1, 'nobody', '{}', now(), now())
"""


def skewed_by(seconds: int) -> dict[str, str]:
    """Variables that set a process's clock ahead by this much, but not its monotonic clock."""
    package = importlib.util.find_spec("libfaketime")
    assert package is not None
    assert package.origin is not None
    library = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def clocks_can_be_skewed() -> bool:
    """True if the package's library works here; it is for Linux on x86-64."""
    script = "import time; print(time.time(), time.monotonic())"
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, env=skewed_by(DAY), capture_output=True, text=True, check=False).stdout.split()
    ahead = [float(clock) - here for clock, here in zip(said, (time.time(), time.monotonic()), strict=False)]
    return len(ahead) == 2 and abs(ahead[0] - DAY) < 60 and abs(ahead[1]) < 60


pytestmark = [
    needs_own_stack,
    pytest.mark.skipif(not clocks_can_be_skewed(), reason="libfaketime does not work on this machine"),
]


@pytest.fixture(scope="module")
def own_stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    with testing.running(new_data_dir()) as stack:
        yield stack


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


async def held_by(http: aiohttp.ClientSession) -> dict[str, Tokens]:
    """The tokens of a client of each dialect from a login and, if the dialect has refresh tokens, from a refresh."""
    logged_in = {driver.name: await driver.log_in(http) for driver in DRIVERS}
    refreshed = {
        f"{driver.name}, refreshed": driver.tokens(
            await driver.refresh(http, (await driver.log_in(http)).refresh_token)
        )
        for driver in REFRESHING
    }
    return logged_in | refreshed


async def statuses(http: aiohttp.ClientSession, held: dict[str, Tokens]) -> set[tuple[str, int]]:
    """The statuses of protected routes of both services for these tokens."""
    paths = ("/api/v1/users/me", "/api/v1/sessions")
    requests = {
        name: [send(http, "GET", path, bearer(tokens.access_token)) for path in paths] for name, tokens in held.items()
    }
    return {(name, reply.status) for name, sent in requests.items() for reply in await asyncio.gather(*sent)}


@pytest.mark.parametrize("seconds", [3 * DAY, -3 * DAY])
async def test_no_token_is_lost_to_a_replica_s_clock(own_stack: testing.Stack, tmp_path: Path, seconds: int) -> None:
    async with client_of(own_stack.url) as http:
        before = await held_by(http)
        # The stack's own replica has completed its first round, so the other one's first round deletes this session.
        database = await connect(own_stack, "auth")
        await database.execute(EXPIRED_SESSION)
        skewed = {"auth_service": skewed_by(seconds), "user_service": skewed_by(-seconds)}
        with second(own_stack, tmp_path, skewed) as replicas:
            async with client_of(replicas.url) as other:
                await until(lambda: database.fetchval("SELECT NOT EXISTS (SELECT FROM sessions WHERE id = 1)"), 10)
                after = await held_by(other)
                for held in (before, after):
                    everybody = {(name, 200) for name in held}
                    assert await statuses(http, held) == everybody
                    assert await statuses(other, held) == everybody
                for driver in REFRESHING:
                    await refresh_across(driver, (http, other), before[driver.name], after[driver.name])
            assert "ClocksDifferError" not in replicas.log("auth_service") + replicas.log("user_service")
        too_soon = "SELECT count(*) FROM access_tokens WHERE expires_at >= to_timestamp(drop_day * 86400.0)"
        assert await database.fetchval("SELECT count(*) FROM access_tokens") > 0
        assert await database.fetchval(too_soon) == 0
        await database.close()


async def refresh_across(driver: Driver, clients: tuple[aiohttp.ClientSession, ...], *held: Tokens) -> None:
    """Each replica refreshes tokens that the other one issued."""
    for client, tokens in zip(reversed(clients), held, strict=True):
        driver.tokens(await driver.refresh(client, tokens.refresh_token))
