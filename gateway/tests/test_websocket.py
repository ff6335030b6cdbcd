"""WebSockets: verified before anybody hears of them, passed on byte for byte, and ended so that both sides know why."""

import asyncio
import contextlib
import time

import pytest

from gateway.clients.frames import Frames, close_frame
from wire import until

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
OPENING = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "chat"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
)
ACCEPTANCE = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
AUTHORIZATION = ("Authorization", "Bearer good")
GOING_AWAY, POLICY_VIOLATION = b"\x88\x02\x03\xe9", b"\x88\x02\x03\xf0"


def frame(payload, mask=b""):
    """A binary frame; from a client it has a mask of four bytes, all zero."""
    size = len(payload)
    masked = 0x80 if mask else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 2**16:
        length = bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([masked | 127]) + size.to_bytes(8, "big")
    return b"\x82" + length + mask + payload


class Peer:
    """The upstream's end of a WebSocket, once it was accepted."""

    def __init__(self, backend):
        self._accepted = asyncio.Event()
        self._ended = asyncio.Event()
        backend.script = self._accept

    async def _accept(self, _message, reader, writer):
        self.reader, self.writer = reader, writer
        writer.write(ACCEPTANCE)
        self._accepted.set()
        await self._ended.wait()

    async def accepted(self):
        await asyncio.wait_for(self._accepted.wait(), 5)
        return self

    def end(self):
        self._ended.set()
        self.writer.close()


async def opened(gateway, connection, peer, more=b"", token="good"):
    await connection.send(gateway.bytes("GET", ME, *OPENING, ("Authorization", f"Bearer {token}")) + more)
    answer = await connection.head()
    assert answer.status == 101
    return answer, await peer.accepted()


async def test_a_websocket_passes_both_ways(gateway):
    async with gateway.connect() as connection:
        answer, peer = await opened(gateway, connection, Peer(gateway.users))
        assert answer.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert answer.get("Sec-WebSocket-Protocol") == "chat"
        assert (answer.get("Connection"), answer.get("Upgrade")) == ("Upgrade", "websocket")
        message = gateway.users.requests[0]
        assert message.get("Authorization") == "Bearer internal.token.157"
        assert [message.get(name) for name, _ in OPENING[2:]] == [value for _, value in OPENING[2:]]
        for size in (0, 125, 126, 70_000):
            sent = frame(b"u" * size, mask=bytes(4))
            await connection.send(sent)
            assert await peer.reader.readexactly(len(sent)) == sent
            sent = frame(b"d" * size)
            peer.writer.write(sent)
            assert await connection.reader.readexactly(len(sent)) == sent
        peer.end()
        assert await connection.rest() == b""


async def test_what_follows_the_opening_at_once_is_the_tunnels(gateway):
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users), frame(b"first", mask=bytes(4)))
        assert await peer.reader.readexactly(11) == frame(b"first", mask=bytes(4))
        peer.end()
    assert len(gateway.users.requests) == 1


@pytest.mark.parametrize("token", [None, "bad"])
async def test_without_a_good_token_no_upstream_hears_of_it(gateway, token):
    gateway.auth.judges(401, b"no", ("WWW-Authenticate", "Bearer"))
    async with gateway.connect() as connection:
        headers = [("Authorization", f"Bearer {token}")] if token else []
        await connection.send(gateway.bytes("GET", ME, *OPENING, *headers) + gateway.bytes("GET", TOKEN))
        answer = await connection.response()
        assert (answer.status, answer.get("Connection")) == (401, "close")
        assert await connection.rest() == b""
    assert gateway.users.received == gateway.auth.requests == []


@pytest.mark.parametrize("status", [200, 400, 403, 503])
async def test_an_upstream_that_refuses_is_heard(gateway, status):
    gateway.users.answers(status, b"words")
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", ME, *OPENING, AUTHORIZATION) + gateway.bytes("GET", TOKEN))
        answer = await connection.response()
        assert (answer.status, answer.body, answer.get("Connection")) == (status, b"words", "close")
        assert await connection.rest() == b""
    assert gateway.auth.requests == []


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", TOKEN, OPENING),
        ("POST", "/api/v1/users", OPENING),
        ("GET", ME, (("Upgrade", "websocket"),)),
        ("GET", ME, (("Connection", "Upgrade"), ("Upgrade", "h2c"))),
    ],
)
async def test_what_is_no_opening_is_sent_on_as_an_ordinary_request(gateway, method, path, headers):
    answer = await gateway.request(method, path, *headers)
    assert answer.status == 200
    assert {"upgrade", "connection"}.isdisjoint((gateway.users.requests + gateway.auth.requests)[0].names)


@pytest.mark.parametrize("leaves", ["client", "upstream"])
async def test_one_side_takes_the_other_with_it(gateway, leaves):
    for _ in range(20):
        async with gateway.connect() as connection:
            _, peer = await opened(gateway, connection, Peer(gateway.users))
            if leaves == "client":
                connection.writer.close()
                assert await asyncio.wait_for(peer.reader.read(), 5) == b""
                peer.end()
            else:
                peer.end()
                assert await connection.rest() == b""
    await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
    upstream = gateway.serving.statuses()[0]["upstreams"]["users"]
    assert [replica["in_flight"] for replica in upstream["replicas"]] == [0]


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
    """However old the verdict was that let it in: at the latest two seconds after the token was revoked."""
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
    """It may have been given before the token was revoked, and have waited to be read since."""
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


async def test_a_client_that_does_not_read_holds_the_upstream_back(gateway):
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        connection.writer.transport.pause_reading()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(peer.writer), 0.5)
        connection.writer.transport.resume_reading()
        assert len(await connection.reader.readexactly(1024 * 1024)) == 1024 * 1024
        peer.end()


async def flood(writer):
    while True:
        writer.write(frame(bytes(64 * 1024)))
        await writer.drain()


async def closing_code(reader):
    head = await asyncio.wait_for(reader.readexactly(8), 5)
    assert head[:2] == b"\x88\x82", "it is masked, as what a client sends must be"
    return int.from_bytes(bytes(byte ^ key for byte, key in zip(head[6:], head[2:4], strict=True)), "big")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("mask", [b"", bytes(4)])
def test_boundaries_are_found_wherever_a_stream_is_cut(size, mask):
    stream = frame(b"x" * size, mask) + frame(b"", mask) + frame(b"y" * 3, mask)
    boundaries = {0, len(frame(b"x" * size, mask)), len(stream) - len(frame(b"y" * 3, mask)), len(stream)}
    for cut in {*range(min(len(stream), 200)), *boundaries, len(stream) - 1}:
        frames = Frames()
        first = frames.feed(stream[:cut])
        assert frames.between == (cut in boundaries)
        passed = sorted(boundary for boundary in boundaries if 0 < boundary <= cut)
        assert first == (passed[0] if passed else 0)
        assert cut == len(stream) or frames.feed(stream[cut:]) == min(each for each in boundaries if each > cut) - cut
        assert frames.between


def test_a_close_frame_states_its_code():
    assert close_frame(1001, masked=False) == GOING_AWAY
