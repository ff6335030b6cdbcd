"""Shares of verification: no network has more than its share of the questions to auth-service."""

import asyncio
import contextlib

import pytest

from backend import answering
from websocket_peer import POLICY_VIOLATION, accepting, websockets
from wire import request_bytes, until

ME = "/api/v1/users/me"
STRANGER = "127.0.1.1"


def question(token):
    return request_bytes("GET", ME, ("Authorization", f"Bearer {token}"))


@contextlib.asynccontextmanager
async def asking(gateway, *tokens, local="127.0.0.1"):
    """A connection for each of these tokens, whose request waits for its verdict or was refused."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect(local=local)) for _ in tokens]
        for connection, token in zip(connections, tokens, strict=True):
            await connection.send(question(token))
        yield connections


async def statuses(connections):
    return [(await connection.response()).status for connection in connections]


@pytest.fixture
async def holding(start_gateway):
    """Start a gateway whose auth-service delays its verdicts until the returned event is set."""

    async def start(**settings):
        gateway = await start_gateway(verdict_lifetime=20, verify_timeout=10, **settings)
        turn, judge = asyncio.Event(), gateway.auth.verdict

        async def held(message, reader, writer):
            await turn.wait()
            await judge(message, reader, writer)

        gateway.auth.verdict = held
        return gateway, turn

    return start


async def test_junk_from_one_network_keeps_nobody_elses_token_from_being_verified(holding):
    gateway, turn = await holding(upstream_requests_per_network=1, upstream_connections=30)
    async with asking(gateway, *(f"junk{number}" for number in range(60))) as flood:
        await until(lambda: gateway.counter("refused_questions_of_network") == 59)
        await until(lambda: len(gateway.auth.questions) == 1)
        for connection in flood[1:]:
            answer = await connection.response()
            assert (answer.status, answer.get("Retry-After")) == (429, "1")
        async with asking(gateway, "good", local=STRANGER) as stranger:
            await until(lambda: len(gateway.auth.questions) == 2)
            turn.set()
            assert await statuses(stranger + flood[:1]) == [200] * 2
        await flood[1].send(question("junk1"))
        assert await statuses(flood[1:2]) == [200]


async def test_requests_with_one_token_are_one_question(holding):
    gateway, turn = await holding(upstream_requests_per_network=5)
    async with asking(gateway, *["good"] * 5) as connections:
        await until(lambda: gateway.serving.statuses()[0]["in_flight"] == 5)
        async with asking(gateway, *"abcd"):
            await until(lambda: len(gateway.auth.questions) == 5)
            async with asking(gateway, "e") as others:
                assert await statuses(others) == [429]
        turn.set()
        assert await statuses(connections) == [200] * 5
    assert gateway.counter("refused_questions_of_network") == 1


async def test_a_client_that_leaves_does_not_take_its_question_back(holding):
    gateway, turn = await holding(upstream_requests_per_network=1)
    async with asking(gateway, "junk"):
        await until(lambda: len(gateway.auth.questions) == 1)
    await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
    async with asking(gateway, "more") as more:
        assert await statuses(more) == [429]
        turn.set()
        async with asyncio.timeout(5):
            await more[0].send(question("more"))
            while await statuses(more) != [200]:
                await more[0].send(question("more"))


async def test_there_are_as_many_questions_as_connections(holding):
    gateway, turn = await holding(upstream_connections=1)
    async with asking(gateway, "one") as one:
        await until(lambda: len(gateway.auth.questions) == 1)
        async with asking(gateway, "two", local=STRANGER) as two:
            answer = await two[0].response()
        assert (answer.status, answer.get("Retry-After")) == (503, "1")
        turn.set()
        assert await statuses(one) == [200]
    assert gateway.counter("refused_questions") == 1


@pytest.mark.parametrize("end", ["verdict", "silence", "broken"])
async def test_every_end_of_a_question_gives_its_place_back(start_gateway, end):
    gateway = await start_gateway(upstream_requests_per_network=1, upstream_connections=1, verify_timeout=0.2)

    async def ending(_message, reader, writer):
        if end == "silence":
            await reader.read()
        writer.transport.abort()

    if end != "verdict":
        gateway.auth.verdict = ending
    for _ in range(3):
        assert (await gateway.request("GET", ME)).status == (200 if end == "verdict" else 503)
    assert gateway.counter("refused_questions_of_network") + gateway.counter("refused_questions") == 0


async def test_a_network_at_its_share_keeps_no_websocket_open(start_gateway):
    """Otherwise its user could use up the share to hide that the token was revoked."""
    gateway = await start_gateway(upstream_requests_per_network=1, verify_timeout=10)
    accepting(gateway.users)

    async def revoked(message, reader, writer):
        if message.get("Authorization") == "Bearer good":
            await answering(401)(message, reader, writer)
        await reader.read()

    async with websockets(gateway, 1) as [websocket]:
        gateway.auth.verdict = revoked
        async with asking(gateway, "junk"):
            assert await websocket.rest() == POLICY_VIOLATION
