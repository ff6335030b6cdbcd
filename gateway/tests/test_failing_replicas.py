"""A replica that hangs or fails is ejected, and one that is merely slow is waited for."""

import asyncio

import pytest

from gateway.clients import relay
from two_replicas import silent
from wire import until

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"


async def test_a_connection_that_was_forgotten_holds_up_no_token_request(pair, monkeypatch):
    """The replica is alive and answers new connections, but does not receive what is sent on the old one."""
    monkeypatch.setattr(relay, "LONGEST_SILENCE", 1.2)
    for backend in pair.backends:
        backend.script = silent
    asked = asyncio.create_task(pair.request("POST", TOKEN, body=b"grant_type=x"))
    await pair.arrives()
    for backend in pair.backends:
        backend.answers(200, b"answer")
    started = asyncio.get_running_loop().time()
    assert (await asked).status == 200
    assert asyncio.get_running_loop().time() - started < 2
    assert pair.counter("retries") == 1


async def test_where_nobody_else_can_be_asked_a_slow_answer_is_waited_for(gateway, monkeypatch):
    monkeypatch.setattr(relay, "LONGEST_SILENCE", 0.3)
    answer = asyncio.Event()

    async def slow(message, reader, writer):
        await message.read_body(reader)
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    gateway.auth.script = slow
    asked = asyncio.create_task(gateway.request("POST", TOKEN, body=b"grant_type=x"))
    await gateway.auth.arrival()
    await asyncio.wait([asked], timeout=1)
    answer.set()
    assert (await asked).status == 200
    assert len(gateway.auth.requests) == 1


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/v1/users"),
        ("PATCH", "/api/v1/users/157"),
        ("POST", "/api/v1/users/157/password"),
        ("DELETE", "/api/v1/sessions"),
    ],
)
async def test_one_that_may_have_been_executed_is_answered_as_soon_as_its_replica_hangs(start_pair, method, target):
    pair = await start_pair(stall_timeout=0.2)
    for backend in pair.backends:
        backend.script = silent
    pair.backends[0].health = silent
    requests = [asyncio.create_task(pair.request(method, target, body=b"{}")) for _ in range(6)]
    await until(lambda: len(pair.received) == 6)
    held = len(pair.backends[0].requests)
    assert 0 < held < 6
    async with asyncio.timeout(2):
        while sum(request.done() for request in requests) < held:
            await asyncio.wait([request for request in requests if not request.done()], return_when="FIRST_COMPLETED")
    answers = [request.result() for request in requests if request.done()]
    assert [(answer.status, answer.get("Retry-After")) for answer in answers] == [(504, "1")] * held
    assert len(pair.received) == 6, "nothing was sent again"
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


async def test_a_replica_that_waits_for_somebody_else_is_waited_for(start_pair):
    pair = await start_pair(stall_timeout=0.1)
    answer = asyncio.Event()

    async def waiting(message, reader, writer):
        await message.read_body(reader)
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    for backend in pair.backends:
        backend.script = waiting
    requests = [asyncio.create_task(pair.request("POST", TOKEN, body=b"{}")) for _ in range(6)]
    await asyncio.wait(requests, timeout=1.5)  # seven times the silence after which a replica is probed twice
    answer.set()
    assert [(await request).status for request in requests] == [200] * 6
    assert len(pair.received) == 6
    assert not any(entry["ejected"] for entry in pair.data_path.status()["upstreams"]["auth"]["replicas"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_replica_that_hangs_is_left_out_and_its_safe_requests_answered(start_pair, method):
    pair = await start_pair(stall_timeout=0.3)
    pair.backends[0].script = pair.backends[0].health = silent
    answers = await asyncio.gather(*(pair.request(method, TOKEN) for _ in range(6)))
    assert {answer.status for answer in answers} == {200}
    replicas = pair.data_path.status()["upstreams"]["auth"]["replicas"]
    assert [replica["ejected"] for replica in replicas] == [True, False]
    asked = len(pair.backends[0].requests)
    assert asked > 0
    assert [(await pair.request(method, TOKEN)).status for _ in range(6)] == [200] * 6
    assert len(pair.backends[0].requests) == asked


async def test_fast_failures_attract_nothing(pair):
    pair.backends[0].answers(500, b"fast")
    statuses = [(await pair.request("GET", TOKEN)).status for _ in range(60)]
    assert statuses.count(500) == 5
    assert statuses[-20:] == [200] * 20


async def test_fast_failures_to_verify_attract_nothing(pair):
    pair.backends[0].judges(500)
    statuses = [(await pair.request("GET", ME)).status for _ in range(60)]
    assert statuses.count(503) == 5
    assert statuses[-20:] == [200] * 20


async def test_an_honest_503_is_no_failure(pair):
    for backend in pair.backends:
        backend.answers(503, b"", ("Retry-After", "7"))
    for _ in range(20):
        answer = await pair.request("GET", TOKEN)
        assert (answer.status, answer.get("Retry-After")) == (503, "7")
    assert not any(entry["ejected"] for entry in pair.data_path.status()["upstreams"]["auth"]["replicas"])
