"""A request that one replica loses is sent to the other one if that is safe, and only then."""

import asyncio

import pytest

from two_replicas import dropping, silent
from wire import PATIENCE, request_bytes

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
KEYS = "/.well-known/jwks.json"  # not repeatable with unsafe methods
SAFE, UNSAFE = ("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "PATCH", "DELETE")


@pytest.mark.parametrize("method", SAFE)
async def test_a_safe_request_is_tried_at_the_other(pair, method):
    pair.backends[0].script = dropping
    answers = [await pair.request(method, TOKEN) for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert len(pair.backends[1].requests) == 4
    assert pair.counter("retries") == len(pair.backends[0].requests)


@pytest.mark.parametrize("method", UNSAFE)
async def test_one_that_may_have_been_done_is_not(pair, method):
    for backend in pair.backends:
        backend.script = dropping
    answer = await pair.request(method, KEYS)
    assert (answer.status, answer.get("Retry-After")) == (502, "0")
    assert len(pair.received) == 1


@pytest.mark.parametrize("method", SAFE)
async def test_it_is_tried_twice_at_the_most(pair, method):
    for backend in pair.backends:
        backend.script = dropping
    assert (await pair.request(method, TOKEN)).status == 502
    assert [len(backend.requests) for backend in pair.backends] == [1, 1]


async def test_an_answer_that_has_begun_is_not_asked_for_again(pair):
    async def breaking(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        raise ConnectionResetError

    for backend in pair.backends:
        backend.script = breaking
    with pytest.raises(asyncio.IncompleteReadError):
        await pair.request("GET", TOKEN)
    assert len(pair.received) == 1


async def _keep_connections(pair):
    """Leave an idle connection to each replica."""
    both, requests = asyncio.Event(), []

    async def meeting(message, reader, writer):
        await message.read_body(reader)
        requests.append(message)
        if len(requests) == 2:
            both.set()
        await both.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    for backend in pair.backends:
        backend.script = meeting
    await asyncio.gather(*(pair.request("GET", TOKEN) for _ in range(2)))
    assert [backend.connections for backend in pair.backends] == [1, 1]


@pytest.mark.parametrize("method", SAFE + UNSAFE)
async def test_a_kept_connection_that_closes_as_it_is_used(pair, method):
    await _keep_connections(pair)
    for backend in pair.backends:
        backend.script = dropping
    assert (await pair.request(method, KEYS)).status == 502
    assert [backend.connections for backend in pair.backends] == [1, 1], "it was not the kept one"
    assert len(pair.received) == 2 + (2 if method in SAFE else 1)


@pytest.mark.parametrize("framing", [("Content-Length", "10"), ("Transfer-Encoding", "chunked")])
@pytest.mark.parametrize("method", [*UNSAFE, "OPTIONS"])
async def test_a_body_that_was_read_is_not_sent_again(pair, method, framing):
    for backend in pair.backends:
        backend.script = dropping
    body = b"0123456789" if framing[1] == "10" else b"a\r\n0123456789\r\n0\r\n\r\n"
    async with pair.connect() as connection:
        await connection.send(request_bytes(method, KEYS, framing) + body)
        assert (await connection.response()).status == 502
    assert [message.body for message in pair.received] == [b"0123456789"]


async def test_retries_are_bounded(pair):
    for backend in pair.backends:
        backend.script = dropping
    for _ in range(100):
        assert (await pair.request("GET", TOKEN)).status == 502
    assert 10 <= pair.counter("retries") <= 10 + 0.2 * 200 + 1
    assert len(pair.received) == 100 + pair.counter("retries")


async def test_a_question_for_a_verdict_is_tried_at_the_other(pair):
    pair.backends[0].verdict = dropping
    assert [(await pair.request("GET", ME)).status for _ in range(6)] == [200] * 6


async def test_a_question_that_one_does_not_answer_is_put_to_the_other(pair):
    pair.backends[0].verdict = silent
    answers = await asyncio.gather(*(pair.request("GET", ME) for _ in range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert pair.backends[0].questions


async def test_nor_is_it_tried_more_than_twice(pair):
    for backend in pair.backends:
        backend.verdict = dropping
    assert (await pair.request("GET", ME)).status == 503
    assert [len(backend.questions) for backend in pair.backends] == [1, 1]


REPEATABLE = [
    TOKEN,
    "/oauth2/token",
    "/oauth/revoke",
    "/oauth/introspect",
    "/api/oauth/access-token/v1/",
    "/api/oauth/157/verify-token/v1/",
]


@pytest.mark.parametrize("target", REPEATABLE)
@pytest.mark.parametrize("fault", [dropping, silent])
async def test_one_that_may_be_executed_twice_is_sent_whole_to_the_other(start_pair, target, fault):
    pair = await start_pair(stall_timeout=0.2)
    pair.backends[0].script = pair.backends[0].health = fault
    body = bytes(range(256)) * 256  # 64 KiB
    answers = await asyncio.gather(*(pair.request("POST", target, body=body) for _ in range(6)))
    assert [answer.status for answer in answers] == [200] * 6
    assert pair.backends[0].requests
    assert [message.body for message in pair.backends[1].requests] == [body] * 6
    assert pair.counter("retries") == len(pair.backends[0].requests)


async def test_a_chunked_body_is_sent_again_as_it_was_framed(pair):
    pair.backends[0].script = dropping
    async with asyncio.timeout(PATIENCE):
        while not pair.backends[0].requests:  # the replica that gets a request is chosen at random
            async with pair.connect() as connection:
                await connection.send(request_bytes("POST", TOKEN, ("Transfer-Encoding", "chunked")) + b"3\r\nabc\r\n")
                await connection.send(b"2\r\nde\r\n0\r\n\r\n")
                assert (await connection.response()).status == 200
    assert {message.body for message in pair.backends[1].requests} == {b"abcde"}


async def test_a_body_larger_than_any_token_request_is_refused_by_one_replica_alone(pair):
    async def breaking(_message, _reader, _writer):
        raise ConnectionResetError

    for backend in pair.backends:
        backend.script = breaking
    assert (await pair.request("POST", TOKEN, body=bytes(64 * 1024 + 1))).status == 502
    assert len(pair.received) == 1
