"""The limits on WebSockets: their number, each user's share of it, and their frames per second."""

import asyncio

import pytest

from websocket_peer import ME, OPENING, POLICY_VIOLATION, Peer, accepting, closing_code, frame, opened, websockets
from wire import until

MASK = bytes(4)


async def refused(gateway):
    answer = await gateway.request("GET", ME, *OPENING)
    assert (answer.get("Retry-After"), answer.get("Connection")) == ("1", "close")
    return answer.status, answer.json()["error"]


async def test_websockets_take_no_connection_from_requests(start_gateway):
    gateway = await start_gateway(upstream_connections=2, connect_timeout=0.5)
    answer = gateway.users.script
    accepting(gateway.users)
    async with websockets(gateway, 5):
        gateway.users.script = answer
        assert [(await gateway.request("GET", ME)).status for _ in range(3)] == [200] * 3
        users = gateway.serving.statuses()[0]["upstreams"]["users"]
        assert (users["connections"], users["replicas"][0]["in_flight"]) == (1, 0)


async def test_a_user_has_a_share_of_the_websockets(start_gateway):
    gateway = await start_gateway(websockets_per_subject=2)
    accepting(gateway.users)
    async with websockets(gateway, 2) as [first, _]:
        assert await refused(gateway) == (429, "too_many_requests")
        assert len(gateway.users.requests) == 2
        gateway.auth.allows(sub="158")
        async with websockets(gateway, 2):
            assert await refused(gateway) == (429, "too_many_requests")
        gateway.auth.allows()
        first.close()
        await until(lambda: gateway.serving.statuses()[0]["connections"] == 1)
        async with websockets(gateway, 1):
            assert await refused(gateway) == (429, "too_many_requests")
    assert gateway.counter("refused_websockets_of_subject") == 3


async def test_there_are_so_many_websockets_and_no_more(start_gateway):
    gateway = await start_gateway(websockets=2)
    accepting(gateway.users)
    async with websockets(gateway, 2):
        gateway.auth.allows(sub="158")
        assert await refused(gateway) == (503, "temporarily_unavailable")
    assert gateway.counter("refused_websockets") == 1
    await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
    async with websockets(gateway, 2):
        pass


@pytest.mark.parametrize("status", [200, 403, 503])
async def test_one_that_its_upstream_refuses_takes_nothing(start_gateway, status):
    gateway = await start_gateway(websockets=1)
    for _ in range(3):
        gateway.users.answers(status, b"words")
        assert (await gateway.request("GET", ME, *OPENING)).status == status
    accepting(gateway.users)
    async with websockets(gateway, 1):
        assert await refused(gateway) == (503, "temporarily_unavailable")


async def test_a_client_that_sends_too_many_frames_is_cut_off(start_gateway):
    """The frames of ten seconds may arrive at once, since they may have been delayed on their way."""
    gateway = await start_gateway(websocket_frames=100)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        empty = frame(b"", mask=MASK)
        await connection.send(empty * 1000)
        assert await asyncio.wait_for(peer.reader.readexactly(6000), 5) == empty * 1000
        await connection.send(empty * 1000)
        assert await connection.rest() == POLICY_VIOLATION
        await peer.reader.readexactly(6000)
        assert await closing_code(peer.reader) == 1008
        peer.end()


async def test_frames_within_the_pace_go_on_for_as_long_as_they_like(start_gateway):
    gateway = await start_gateway(websocket_frames=100)
    async with gateway.connect() as connection:
        _, peer = await opened(gateway, connection, Peer(gateway.users))
        await connection.send(frame(b"", mask=MASK) * 950)
        for _ in range(15):
            await connection.send(frame(b"u" * 70_000, mask=MASK) + frame(b"", mask=MASK) * 4)
            await asyncio.sleep(0.1)
        received = 950 * 6 + 15 * (70_014 + 24)
        assert len(await asyncio.wait_for(peer.reader.readexactly(received), 5)) == received
        peer.end()
        assert await connection.rest() == b""
