"""An auth-service that does not answer at all: requests do not wait for it, and its return is noticed."""

import asyncio
import time

import pytest

from gateway.verdicts import breaker
from websocket_peer import accepting, websockets
from wire import until

ME = "/api/v1/users/me"


async def silence(_message, reader, _writer):
    await reader.read()


async def breaking(_message, _reader, writer):
    writer.transport.abort()


@pytest.mark.parametrize("script", [silence, breaking])
async def test_after_many_silences_nobody_waits_until_it_answers_again(start_gateway, script):
    gateway = await start_gateway(verify_timeout=0.3)
    judge, gateway.auth.verdict = gateway.auth.verdict, script
    answers = await asyncio.gather(*(gateway.request("GET", ME) for _ in range(breaker.FAILURES)))
    assert {answer.status for answer in answers} == {503}
    asked = len(gateway.auth.questions)
    started = time.monotonic()
    for _ in range(20):
        answer = await gateway.request("GET", ME)
        assert (answer.status, answer.get("Retry-After")) == (503, "1")
    assert time.monotonic() - started < 0.3, "not one of them has waited"
    assert len(gateway.auth.questions) == asked
    gateway.auth.verdict = judge
    async with asyncio.timeout(5):
        while (await gateway.request("GET", ME)).status != 200:
            pass
    assert [(await gateway.request("GET", ME)).status for _ in range(5)] == [200] * 5


async def test_a_hanging_one_is_asked_once_a_second(start_gateway):
    gateway = await start_gateway(verify_timeout=0.1)
    gateway.auth.verdict = silence
    await asyncio.gather(*(gateway.request("GET", ME) for _ in range(breaker.FAILURES)))
    asked = len(gateway.auth.questions)
    started = time.monotonic()
    while time.monotonic() - started < 2.5:
        assert (await gateway.request("GET", ME)).status == 503
    assert len(gateway.auth.questions) - asked in (2, 3)


async def test_answers_that_are_no_verdicts_open_nothing(start_gateway):
    gateway = await start_gateway()
    for status in (500, 503, 200) * breaker.FAILURES:
        gateway.auth.judges(status, b"{}")
        assert (await gateway.request("GET", ME)).status == 503
    gateway.auth.allows()
    assert (await gateway.request("GET", ME)).status == 200


async def test_a_full_pool_says_nothing_about_auth_service(start_gateway):
    """More WebSockets than there are connections ask for verdicts at once: this does not open the breaker."""
    gateway = await start_gateway(upstream_connections=1, verify_connect_timeout=0.3, verify_timeout=10)
    accepting(gateway.users)
    turn, judge = asyncio.Event(), gateway.auth.verdict

    async def held(message, reader, writer):
        await turn.wait()
        await breaking(message, reader, writer)  # a verdict would close the breaker

    async with websockets(gateway, breaker.FAILURES + 5):
        gateway.auth.verdict = held
        await until(lambda: gateway.counter("verdicts_unknown") >= breaker.FAILURES)
        gateway.auth.verdict = judge
        turn.set()
        assert (await gateway.request("GET", "/api/v1/sessions")).status == 200
