"""WebSockets: verified before any upstream hears of them, and passed on byte for byte."""

import asyncio

import pytest

from websocket_peer import AUTHORIZATION, ME, OPENING, Peer, flood, frame, opened
from wire import until

TOKEN = "/oauth/token"


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


async def test_a_client_that_does_not_read_holds_the_upstream_back(gateway):
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        connection.writer.transport.pause_reading()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(peer.writer), 0.5)
        connection.writer.transport.resume_reading()
        assert len(await connection.reader.readexactly(1024 * 1024)) == 1024 * 1024
        peer.end()
