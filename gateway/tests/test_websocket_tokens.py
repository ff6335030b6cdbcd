"""A WebSocket is closed when its token is revoked or expires, but not because auth-service is unavailable."""

import asyncio
import contextlib
import time

import pytest

from websocket_peer import ME, POLICY_VIOLATION, Peer, closing_code, frame, opened
from wire import until


async def test_a_token_that_is_refused_later_ends_it(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        await until(lambda: len(gateway.auth.questions) == 2)
        gateway.auth.judges(401, b"no")
        assert await connection.rest() == POLICY_VIOLATION
        assert await closing_code(peer.reader) == 1008
        peer.end()


async def test_a_verdict_that_cannot_be_had_ends_nothing(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        gateway.auth.judges(503)
        await until(lambda: len(gateway.auth.questions) == 3)
        peer.writer.write(frame(b"still here"))
        assert await connection.reader.readexactly(12) == frame(b"still here")
        peer.end()


AGES = (0.0, 0.5, 1.0, 1.5, 1.9)


async def test_a_revocation_ends_it_as_soon_as_it_ends_everything_else(start_gateway):
    """It is closed two seconds after the revocation at the latest, however old the verdict on its request was."""
    gateway = await start_gateway(verdict_lifetime=2)
    async with contextlib.AsyncExitStack() as stack:
        started = time.monotonic()
        for age in AGES:
            answer = await gateway.request("GET", ME, token=f"of-age-{age}")
            assert answer.status == 200
        gateway.auth.judges(401, b"no")
        revoked = time.monotonic()
        assert revoked - started < 0.5
        connections = []
        for age in AGES:
            await asyncio.sleep(started + age - time.monotonic())
            connection = await stack.enter_async_context(gateway.connect())
            await opened(gateway, connection, Peer(gateway.users), token=f"of-age-{age}")
            connections.append(connection)
        assert [await connection.rest() for connection in connections] == [POLICY_VIOLATION] * len(AGES)
        assert time.monotonic() - revoked < 2.5


@pytest.mark.parametrize(("lifetime", "bound"), [(2, 2.5), (0.5, 1.0), (0, 1.5)])
async def test_a_revocation_ends_one_that_is_open(start_gateway, lifetime, bound):
    async def revoke(after):
        gateway = await start_gateway(verdict_lifetime=lifetime)
        async with gateway.connect() as connection:
            await opened(gateway, connection, Peer(gateway.users))
            await asyncio.sleep(after)
            gateway.auth.judges(401, b"no")
            revoked = time.monotonic()
            assert await connection.rest() == POLICY_VIOLATION
            assert time.monotonic() - revoked < bound

    await asyncio.gather(*(revoke(after) for after in (0.1, 1.1, 1.7, 3.1)))


async def test_a_slow_verdict_counts_from_when_it_was_asked_for(start_gateway):
    """The verdict may have been given before the token was revoked, and read only later."""
    gateway = await start_gateway(verdict_lifetime=2, verify_timeout=4)
    judge = gateway.auth.verdict

    async def slow(message, reader, writer):
        await asyncio.sleep(1)
        await judge(message, reader, writer)

    gateway.auth.verdict = slow
    async with gateway.connect() as connection:
        started = time.monotonic()
        await opened(gateway, connection, Peer(gateway.users))
        gateway.auth.judges(401, b"no")
        assert await connection.rest() == POLICY_VIOLATION
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("away", ["at once", "later"])
async def test_an_expired_token_ends_it_though_nobody_can_be_asked(start_gateway, away):
    gateway = await start_gateway(verdict_lifetime=0.3)
    gateway.auth.allows(expires_in=2)
    async with gateway.connect() as connection:
        started = time.monotonic()
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        if away == "later":
            await until(lambda: len(gateway.auth.questions) == 3)
            started = time.monotonic()
        gateway.auth.judges(503)
        assert await connection.rest() == POLICY_VIOLATION
        assert await closing_code(peer.reader) == 1008
        assert 1 < time.monotonic() - started < 2.5
        peer.end()


@pytest.mark.parametrize("ahead", [-1200, 1200])
async def test_a_gateway_whose_clock_is_wrong_ends_nothing(start_gateway, ahead):
    gateway = await start_gateway(verdict_lifetime=0.2)
    gateway.auth.allows(expires_in=900, exp=int(time.time()) + 900 - ahead)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        await until(lambda: len(gateway.auth.questions) == 4)
        peer.writer.write(frame(b"still here"))
        assert await connection.reader.readexactly(12) == frame(b"still here")
        peer.end()


@pytest.mark.parametrize("cut", [1, 3, 5, 60_000])
async def test_a_closing_frame_is_never_put_into_another(start_gateway, cut):
    gateway = await start_gateway(verdict_lifetime=0)
    sent = frame(b"d" * 66_000)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        peer.writer.write(sent[:cut])
        assert await connection.reader.readexactly(cut) == sent[:cut]
        gateway.auth.judges(401, b"no")
        assert await closing_code(peer.reader) == 1008
        peer.writer.write(sent[cut:] + frame(b"too late"))
        assert await connection.rest() == sent[cut:] + POLICY_VIOLATION
        peer.end()
