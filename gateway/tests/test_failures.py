"""Upstreams that are dead, slow or broken: the client's answer, and that no request is sent twice."""

import asyncio
import socket
import struct

import pytest

from wire import until

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def dropping(message, reader, _writer):
    """Reads the request, then disconnects, so that the request may or may not have been executed."""
    await message.read_body(reader)
    raise ConnectionResetError


@pytest.mark.parametrize("method", METHODS)
async def test_a_request_that_may_have_been_done_is_not_sent_again(gateway, method):
    gateway.auth.script = dropping
    answer = await gateway.request(method, TOKEN, token=None)
    assert answer.status == 502
    assert [message.method for message in gateway.auth.received] == [method]


@pytest.mark.parametrize("method", METHODS)
async def test_nor_is_one_on_a_connection_that_was_kept(gateway, method):
    await gateway.request("GET", TOKEN, token=None)
    connections = gateway.auth.connections
    gateway.auth.script = dropping
    assert (await gateway.request(method, TOKEN, token=None)).status == 502
    assert [message.method for message in gateway.auth.received] == ["GET", method]
    assert gateway.auth.connections == connections, "the connection was not used again, so this shows nothing"


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_not_replayed_empty(gateway, method, chunked):
    gateway.auth.script = dropping
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "10")
    body = b"a\r\n0123456789\r\n0\r\n\r\n" if chunked else b"0123456789"
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes(method, TOKEN, framing) + body)
        assert (await connection.response()).status == 502
    assert [message.body for message in gateway.auth.received] == [b"0123456789"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_nor_is_a_request_that_was_reset(gateway, method):
    async def reset(_message, _reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    gateway.auth.script = reset
    assert (await gateway.request(method, TOKEN, token=None)).status == 502
    assert len(gateway.auth.received) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_dead_upstream_means_unavailable(start_gateway, method):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        port = deaf.getsockname()[1]
        gateway = await start_gateway(users_url=f"http://127.0.0.1:{port}")
        answer = await gateway.request(method, "/api/v1/users", body=b"{}" if method == "POST" else b"")
    _is_failure(answer, 503, "temporarily_unavailable")
    assert int(answer.get("Retry-After")) > 0
    assert str(port).encode() not in answer.body


async def test_an_upstream_that_takes_no_connection_means_unavailable(start_gateway):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):  # fills the queue
            port = listener.getsockname()[1]
            gateway = await start_gateway(users_url=f"http://127.0.0.1:{port}", connect_timeout=0.1)
            _is_failure(await gateway.request("GET", ME), 503, "temporarily_unavailable")


async def test_a_silent_upstream_means_a_timeout(start_gateway):
    gateway = await start_gateway(read_timeout=0.1)

    async def silence(_message, reader, _writer):
        await reader.read()

    gateway.users.script = silence
    _is_failure(await gateway.request("GET", ME), 504, "server_error")
    _is_failure(await gateway.request("POST", "/api/v1/users", body=b"{}"), 504, "server_error")
    assert len(gateway.users.received) == 2


async def test_an_answer_may_take_longer_than_its_parts(start_gateway):
    gateway = await start_gateway(read_timeout=0.1, body_timeout=0.1)

    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.04)
            writer.write(b"x")

    gateway.auth.script = script
    assert (await gateway.request("GET", TOKEN)).body == b"xxxxxxxx"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Secret: " + b"x" * 9000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Secret: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Secret: xxx\r\n Folded: xxx\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Secret: xxx\nX-More: xxx\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Secret: xxx\rX-More: xxx\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\rX-Secret: xxx\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \xe9\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxxx",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200",
    ],
)
async def test_a_broken_answer_means_a_bad_gateway(gateway, caplog, reply):
    async def script(_message, _reader, writer):
        writer.write(reply)
        writer.close()

    gateway.users.script = script
    answer = await gateway.request("GET", ME)
    _is_failure(answer, 502, "server_error")
    assert b"xxx" not in answer.body
    assert len(gateway.users.received) == 1
    assert "Fatal error" not in caplog.text, "an exception left a callback"


async def test_an_interim_answer_is_passed_over(gateway):
    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")

    gateway.users.script = script
    answer = await gateway.request("GET", ME)
    assert (answer.status, answer.body, answer.get("Link")) == (200, b"body", None)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("stalls", [False, True])
async def test_a_response_that_breaks_off_does_not_look_complete(start_gateway, framing, stalls):
    gateway = await start_gateway(read_timeout=0.1)

    async def script(_message, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
        if stalls:
            await reader.read()
        else:
            writer.close()

    gateway.users.script = script
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", ME, ("Authorization", "Bearer good")))
        received = await connection.rest()
    assert not received.endswith(b"0\r\n\r\n")
    assert len(received.partition(b"\r\n\r\n")[2]) < 100
    assert b"problem" not in received
    assert len(gateway.users.received) == 1


@pytest.mark.parametrize("progress", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"])
async def test_a_client_that_leaves_takes_its_upstream_request_with_it(gateway, progress):
    async def script(_message, reader, writer):
        writer.write(progress)
        assert await reader.read() == b""

    gateway.auth.script = script
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN))
        message = await gateway.auth.arrival()
    await asyncio.wait_for(message.gone.wait(), 1)


async def test_a_client_that_leaves_in_the_middle_of_an_upload_that_is_held_back_is_noticed(start_gateway):
    size = 64 * 1024 * 1024
    gateway = await start_gateway()
    blocked = asyncio.Event()

    async def deaf(_message, _reader, writer):
        await blocked.wait()
        writer.write(b"x")

    gateway.auth.script = deaf
    async with gateway.connect() as connection:
        connection.writer.write(gateway.bytes("POST", TOKEN, body=bytes(size)))
        await gateway.auth.arrival()
        await until(lambda: gateway.serving.statuses()[0]["in_flight"] == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.writer.drain(), 0.5)
        reset = struct.pack("ii", 1, 0)
        connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        connection.writer.transport.abort()
    await asyncio.wait_for(until(lambda: gateway.serving.statuses()[0]["in_flight"] == 0), 2)
    blocked.set()


async def test_a_stalled_user_service_does_not_hold_up_the_token_endpoint(start_gateway):
    gateway = await start_gateway(upstream_connections=2, connect_timeout=0.1)
    stall = asyncio.Event()

    async def stalling(_message, _reader, writer):
        await stall.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    gateway.users.script = stalling
    waiting = [asyncio.create_task(gateway.request("GET", ME)) for _ in range(2)]
    await gateway.users.arrival(2)
    _is_failure(await gateway.request("GET", ME), 503, "temporarily_unavailable")
    assert (await gateway.request("POST", TOKEN, token=None)).status == 200
    assert (await gateway.request("GET", "/api/v1/sessions")).status == 200
    stall.set()
    assert [(await task).status for task in waiting] == [200, 200]


async def test_a_stalled_token_endpoint_does_not_hold_up_verification(start_gateway):
    gateway = await start_gateway(upstream_connections=1)
    stall = asyncio.Event()

    async def stalling(_message, _reader, writer):
        await stall.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    gateway.auth.script = stalling
    waiting = asyncio.create_task(gateway.request("POST", TOKEN, token=None))
    await gateway.auth.arrival()
    assert (await gateway.request("GET", ME)).status == 200
    stall.set()
    assert (await waiting).status == 200


async def test_upstream_connections_are_kept(start_gateway):
    gateway = await start_gateway()
    for _ in range(5):
        assert (await gateway.request("GET", ME)).status == 200
    assert (gateway.auth.connections, gateway.users.connections) == (1, 1)


async def test_a_connection_that_its_upstream_closed_is_not_used_again(gateway):
    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    gateway.auth.script = script
    for _ in range(5):
        assert (await gateway.request("POST", TOKEN, token=None)).status == 200
        await asyncio.wait_for(gateway.auth.requests[-1].gone.wait(), 5)


def _is_failure(answer, status, error):
    assert (answer.status, answer.json()["error"]) == (status, error)
    assert answer.get("Content-Type").startswith("application/problem+json")
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("X-Request-Id") is not None
    assert b"127.0.0.1" not in answer.body
