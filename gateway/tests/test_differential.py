"""A thousand mutated requests, which two real servers must read exactly as the gateway does.

There are three records of the requests, joined by the gateway's request ids: its answers to the clients show which
requests it forwarded, the bytes that it wrote upstream show their content (read by a strict reader), and the server
reports what it read. Number, method, target and body of the requests must be the same in all three.
"""

import asyncio
import contextlib
import re
import shutil
import socket
from collections import Counter

import pytest

import mutations
import recording

NUMBER = 1000
AT_ONCE = 100
SEED = 20250101
PATIENCE = 5.0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(params=["aiohttp", "nginx"])
async def server(request, tmp_path):
    """A recording server of either kind."""
    if request.param == "aiohttp":
        async with recording.AiohttpRecorder.started() as recorder:
            yield recorder
        return
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (a Debian package, which `make bench-gateway` installs)")
    with recording.NginxRecorder.started(program, tmp_path, _free_port()) as recorder:
        yield recorder


async def _converse(gateway, raw: bytes) -> bytes:
    """Everything that the gateway answers until it closes the connection, which it must do soon."""
    async with gateway.connect() as connection:
        with contextlib.suppress(ConnectionError):
            await connection.send(raw + mutations.ENDING)
        return await connection.rest()


async def _answers(gateway, requests: list[bytes]) -> list[bytes]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(raw: bytes) -> bytes:
        async with places:
            return await _converse(gateway, raw)

    return await asyncio.gather(*(one(raw) for raw in requests))


def _ids_and_what_was_seen(stream: bytes) -> list[tuple[str | None, str | None]]:
    """For each answer, the id in its head and the one that the server put into its body, if any."""
    answers = (part for part in re.split(rb"(?=HTTP/1\.[01] \d{3} )", stream) if part)
    return [
        (_found(rb"(?i)\r\nx-request-id: (\S+)", answer), _found(rb"(?s)\r\n\r\n.*?seen (\S+);", answer))
        for answer in answers
        if not answer.startswith(b"HTTP/1.1 100 ")
    ]


def _found(pattern: bytes, answer: bytes) -> str | None:
    match = re.search(pattern, answer)
    return match.group(1).decode() if match else None


async def _settled(
    wire: recording.Wire, server: recording.Recorder
) -> tuple[list[recording.Seen], list[recording.Seen]]:
    """The requests that were sent and those that were read, once they agree or a time limit has passed."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        sent, seen = wire.sent(), server.seen()
        if Counter(sent) == Counter(seen) or asyncio.get_running_loop().time() > deadline:
            return sent, seen
        await asyncio.sleep(0.05)


async def test_what_the_gateway_says_it_sent_is_what_the_server_read(start_gateway, server):
    requests = mutations.mutated_requests(SEED, NUMBER)
    wire = recording.Wire(server.port)
    async with wire.listening() as port:
        url = f"http://127.0.0.1:{port}"
        times = dict.fromkeys(("first_byte_timeout", "header_timeout", "keepalive_timeout", "body_timeout"), 0.5)
        gateway = await start_gateway(auth_url=url, users_url=url, **times)
        answers = [_ids_and_what_was_seen(stream) for stream in await _answers(gateway, requests)]
        sent, seen = await _settled(wire, server)

    assert Counter(sent) - Counter(seen) == Counter(), "sent, but not read so"
    assert Counter(seen) - Counter(sent) == Counter(), "read, but not sent so"
    let_through = {request.id: request for request in sent if request.target != "/verify-token"}
    assert len(let_through) == sum(request.target != "/verify-token" for request in sent)
    answered = Counter(head_id for stream in answers for head_id, _ in stream)
    assert all(answered[request_id] == 1 for request_id in let_through)
    for raw, stream in zip(requests, answers, strict=True):
        for head_id, body_id in stream:
            assert body_id in (None, head_id), "an answer to another request"
            if request := let_through.get(head_id):
                assert request.target.encode("latin-1") in raw + mutations.ENDING
    # Enough of both: a gateway that refuses everything would agree with every server.
    assert len(let_through) > NUMBER / 2
    assert answered.total() - len(let_through) > NUMBER / 5
