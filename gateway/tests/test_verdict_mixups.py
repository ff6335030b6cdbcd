"""No request is admitted by a verdict on another token, by an expired one, or by an invalid answer."""

import asyncio
import dataclasses
import json
import random
import socket
import time

import pytest

from backend import ALLOW
from gateway.verdicts.verification import Allow

ME = "/api/v1/users/me"
JSON = ("Content-Type", "application/json")
DENIAL = (JSON, ("WWW-Authenticate", 'Bearer realm="parley", error="invalid_token"'))


@pytest.fixture
async def remembering(start_gateway):
    """A gateway that caches verdicts for longer than any test takes."""
    return await start_gateway(verdict_lifetime=20)


WORDS = (
    (("Accept", "ab"),),
    (("Accept", "a"), ("Accept", "b")),
    (("Accept", "b"), ("Accept", "a")),
    (("Accept-Language", "ab"),),
    (("language", "ab"),),
    (("Accept", "a"), ("Accept-Language", "b")),
    (("Accept", "a"), ("language", "b")),
    (("Accept", "ab"), ("language", "")),
    (("Accept", "aaccept-language: b"),),
    (),
)


async def test_no_two_choices_of_words_are_taken_for_one(remembering):
    for number, headers in enumerate(WORDS):
        remembering.auth.judges(401, str(number).encode(), *DENIAL)
        assert (await remembering.request("GET", ME, *headers)).body == str(number).encode()
    for number, headers in enumerate(WORDS):
        assert (await remembering.request("GET", ME, *headers)).body == str(number).encode()
    assert len(remembering.auth.questions) == len(WORDS)


async def test_words_of_one_token_are_not_those_of_another(remembering):
    for number in range(2):
        remembering.auth.judges(401, str(number).encode(), *DENIAL)
        assert (await remembering.request("GET", ME, token=f"bad-{number}")).body == str(number).encode()
    remembering.auth.allows()
    # The headers that negotiate a deny come from the client, and must not be confused with a token.
    assert (await remembering.request("GET", ME, ("language", "bad-1"), token="bad-")).status == 200


@pytest.mark.parametrize("lifetime", [0, 20])
async def test_leaving_clients_mix_up_nothing(start_gateway, lifetime):
    # All come from one address, and questions of clients that leave continue.
    gateway = await start_gateway(verdict_lifetime=lifetime, upstream_requests_per_network=256)
    chance = random.Random(7)

    async def judge(message, _reader, writer):
        token = message.get("Authorization").removeprefix("Bearer ")
        await asyncio.sleep(chance.random() / 100)
        verdict = json.dumps({**ALLOW, "internal_token": f"internal.{token}"}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(verdict), verdict))

    async def echo(message, _reader, writer):
        await asyncio.sleep(chance.random() / 100)
        body = message.get("Authorization").encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    gateway.auth.verdict, gateway.users.script = judge, echo
    answered = 0

    async def client(number):
        nonlocal answered
        for turn in range(8):
            token = f"{number % 20}-{turn}"  # each token is used by several clients
            async with gateway.connect() as connection:
                await connection.send(gateway.bytes("GET", ME, ("Authorization", f"Bearer {token}")))
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.random() / 100)
                    continue
                assert (await connection.response()).body.decode() == f"Bearer internal.{token}"
                answered += 1

    await asyncio.gather(*(client(number) for number in range(60)))
    assert answered > 100


def test_a_verdict_that_many_share_is_nobodys_to_change():
    allow = Allow("157", frozenset({"UserActivity"}), b"token", 1.0, 2.0)
    for field in dataclasses.fields(allow):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(allow, field.name, None)
    assert isinstance(allow.scope, frozenset)


NO_VERDICTS = (
    json.dumps({**ALLOW, "active": "true"}),
    json.dumps({**ALLOW, "active": 1}),
    json.dumps({"active": True}),
    json.dumps(ALLOW).replace('"active": true', '"active": true, "active": true'),
    json.dumps(ALLOW)[:-1],
    "<html></html>",
)


@pytest.mark.parametrize("body", NO_VERDICTS)
async def test_an_answer_that_was_none_is_forgotten(remembering, body):
    remembering.auth.judges(200, body.encode(), JSON)
    assert [(await remembering.request("GET", ME)).status for _ in range(2)] == [503, 503]
    assert len(remembering.auth.questions) == 2
    remembering.auth.allows()
    assert (await remembering.request("GET", ME)).status == 200


async def test_silence_is_forgotten(start_gateway):
    gateway = await start_gateway(verdict_lifetime=20, verify_timeout=0.1)

    async def silence(_message, reader, _writer):
        await reader.read()

    judge, gateway.auth.verdict = gateway.auth.verdict, silence
    assert (await gateway.request("GET", ME)).status == 503
    gateway.auth.verdict = judge
    assert (await gateway.request("GET", ME)).status == 200


async def test_a_verdict_that_has_ended_is_not_used_for_want_of_another(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0.2)
    assert (await gateway.request("GET", ME)).status == 200
    gateway.auth.judges(500)
    started = time.monotonic()
    while (await gateway.request("GET", ME)).status == 200:
        assert time.monotonic() - started < 2
    for _ in range(5):
        assert (await gateway.request("GET", ME)).status == 503


async def test_a_verdict_that_has_ended_makes_room_for_the_next(start_gateway):
    gateway = await start_gateway(verdict_lifetime=0.6)
    assert (await gateway.request("GET", ME)).status == 200
    async with asyncio.timeout(5):
        while len(gateway.auth.questions) < 2:
            assert (await gateway.request("GET", ME)).status == 200
    started = time.monotonic()
    while time.monotonic() - started < 0.1:
        assert (await gateway.request("GET", ME)).status == 200
    assert len(gateway.auth.questions) == 2


async def test_a_token_that_is_known_is_no_excuse_for_one_in_the_query(remembering):
    assert (await remembering.request("GET", ME)).status == 200
    assert (await remembering.request("GET", f"{ME}?access_token=good")).status == 400
    assert len(remembering.users.requests) == 1


async def test_an_auth_service_that_takes_no_connection_is_not_waited_for_long(start_gateway):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):  # fills the queue
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            gateway = await start_gateway(auth_url=url, verify_connect_timeout=0.1, verify_timeout=60)
            started = time.monotonic()
            assert (await gateway.request("GET", ME)).status == 503
            assert time.monotonic() - started < 2
