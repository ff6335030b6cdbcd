"""Limits of one client on time, connections, requests and bytes, and that other clients are not affected."""

import asyncio
import contextlib
import resource

import pytest

ME = "/api/v1/users/me"
PASSWORD = "/api/v1/users/157/password"
TOKEN = "/oauth/token"
CHUNKED = ("Transfer-Encoding", "chunked")
KIBIBYTE = 1024


async def _status_after(connection, raw, pause=0.0):
    """Send byte by byte, with pauses. Returns the status of the last answer on the connection, or None."""

    async def trickle():
        with contextlib.suppress(ConnectionError):
            for number in range(len(raw)):
                await connection.send(raw[number : number + 1])
                await asyncio.sleep(pause)

    sending = asyncio.create_task(trickle())
    received = await connection.rest()
    sending.cancel()
    return int(received.split(b" ")[1]) if received else None


async def test_a_connection_that_says_nothing_is_closed(start_gateway):
    gateway = await start_gateway(first_byte_timeout=0.1)
    async with gateway.connect() as connection:
        assert await connection.rest() == b""


async def test_a_head_has_to_arrive_in_time_however_steadily_it_trickles(start_gateway):
    gateway = await start_gateway(header_timeout=0.3)
    async with gateway.connect() as connection:
        assert await _status_after(connection, gateway.bytes("GET", TOKEN, ("X", "x" * 1000)), pause=0.01) == 408
    assert gateway.nothing_sent()


async def test_the_head_of_a_later_request_has_to_arrive_in_time_too(start_gateway):
    gateway = await start_gateway(header_timeout=0.3)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN))
        assert (await connection.response()).status == 200
        assert await _status_after(connection, gateway.bytes("GET", TOKEN, ("X", "x" * 1000)), pause=0.01) == 408


async def test_an_idle_connection_is_closed(start_gateway):
    gateway = await start_gateway(keepalive_timeout=0.2)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN))
        assert (await connection.response()).get("Connection") is None
        assert await connection.rest() == b""


@pytest.mark.parametrize("framing", [("Content-Length", "60000"), CHUNKED])
async def test_a_body_has_a_least_rate_however_steadily_it_trickles(start_gateway, framing):
    gateway = await start_gateway(body_timeout=0.3, body_rate=1_000_000)
    body = b"1\r\nx\r\n" * 1000 if framing == CHUNKED else b"x" * 1000
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, framing))
        assert await _status_after(connection, body, pause=0.01) == 408
    assert gateway.nothing_sent()


async def test_a_body_that_is_fast_enough_may_take_its_time(start_gateway):
    gateway = await start_gateway(body_timeout=0.2, body_rate=10)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, ("Content-Length", "500")))
        for _ in range(10):
            await connection.send(b"x" * 50)
            await asyncio.sleep(0.05)
        assert (await connection.response()).status == 200


async def test_connections_are_limited_and_places_given_back(start_gateway):
    gateway = await start_gateway(connections=3)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            held = await stack.enter_async_context(gateway.connect())
            await held.send(gateway.bytes("GET", TOKEN))
            assert (await held.response()).status == 200
        await _is_turned_away(gateway)
        held.close()
        await _until_served(gateway)


async def test_connections_of_one_address_are_limited(start_gateway):
    gateway = await start_gateway(connections_per_address=1)
    async with gateway.connect() as held:
        await held.send(gateway.bytes("GET", TOKEN))
        assert (await held.response()).status == 200
        await _is_turned_away(gateway)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=("127.0.0.9", 0))
        writer.write(gateway.bytes("GET", TOKEN))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    await _until_served(gateway)


async def test_connections_of_one_wide_network_are_limited(start_gateway):
    gateway = await start_gateway(connections_per_address=1)
    async with gateway.connect() as held, gateway.connect(local="127.0.0.2"):
        await _is_turned_away(gateway, "127.0.0.3")
        async with gateway.connect(local="127.0.1.1") as stranger:
            await stranger.send(gateway.bytes("GET", TOKEN))
            assert (await stranger.response()).status == 200
        held.close()
        await _until_served(gateway)


async def _is_turned_away(gateway, local="127.0.0.1"):
    async with gateway.connect(local=local) as connection:
        answer = await connection.response()
        assert (answer.status, answer.get("Connection")) == (503, "close")
        assert int(answer.get("Retry-After")) > 0
        assert await connection.rest() == b""


async def _until_served(gateway):
    async with asyncio.timeout(5):
        while (await gateway.request("GET", TOKEN, token=None)).status != 200:
            pass


async def test_requests_on_one_connection_are_limited(start_gateway):
    gateway = await start_gateway(requests_per_connection=3)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN) * 5)
        assert [(await connection.response()).get("Connection") for _ in range(3)] == [None, None, "close"]
        assert await connection.rest() == b""
    assert len(gateway.auth.requests) == 3


@pytest.mark.parametrize("path", ["/nowhere", PASSWORD])
async def test_little_more_is_read_after_a_refusal(gateway, path):
    gateway.auth.judges(401, b"no")
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", path, CHUNKED) + b"3b9aca00\r\n")
        assert (await connection.head()).status in (401, 404)
        # Two sockets on one machine buffer a few megabytes between them.
        assert await _sent_until_cut_off(connection, bytes(64 * KIBIBYTE)) < 16 * KIBIBYTE * KIBIBYTE
    assert gateway.users.received == []


async def _sent_until_cut_off(connection, data):
    """The number of bytes that could be sent."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while True:
                await connection.send(data)
                sent += len(data)
    return sent


async def test_no_route_takes_more_than_services_read(gateway):
    body = b"x" * (64 * KIBIBYTE + 1)
    assert (await gateway.request("POST", PASSWORD, body=body[:-1])).status == 200
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", PASSWORD, ("Authorization", "Bearer good"), body=body))
        assert (await connection.response()).status == 413
    async with gateway.connect() as connection:
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        await connection.send(gateway.bytes("POST", PASSWORD, ("Authorization", "Bearer good"), CHUNKED) + chunk)
        assert (await connection.response()).status == 413
    assert [message.complete for message in gateway.users.requests] == [True]


async def test_pipelined_requests_wait_for_their_turn(gateway):
    turn = asyncio.Event()

    async def script(message, _reader, writer):
        await turn.wait()
        body = message.target.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    gateway.auth.script = script
    targets = [f"{TOKEN}?{number}" for number in range(100)]
    async with gateway.connect() as connection:
        await connection.send(b"".join(gateway.bytes("GET", target) for target in targets))
        await gateway.auth.arrival()
        turn.set()
        assert [(await connection.response()).body.decode() for _ in targets] == targets


async def test_who_pipelines_and_never_reads_is_cut_off(start_gateway):
    gateway = await start_gateway(body_timeout=0.2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with gateway.connect() as connection:
        connection.writer.transport.pause_reading()
        await _sent_until_cut_off(connection, gateway.bytes("GET", "/nowhere") * 1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * KIBIBYTE, "in KiB"
    assert (await gateway.request("GET", TOKEN)).status == 200


async def test_who_never_reads_a_long_answer_is_cut_off(start_gateway):
    gateway = await start_gateway(body_timeout=0.2)

    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(bytes(64 * KIBIBYTE))
            await writer.drain()

    gateway.auth.script = script
    async with gateway.connect() as connection:
        connection.writer.transport.pause_reading()
        await connection.send(gateway.bytes("GET", TOKEN))
        message = await gateway.auth.arrival()
        await asyncio.wait_for(message.gone.wait(), 5)


async def test_blank_lines_are_no_request(gateway):
    await gateway.refuses(b"\r\n" * 1000)
    async with gateway.connect() as connection:
        await connection.send(b"\r\n" + gateway.bytes("GET", TOKEN))
        assert (await connection.response()).status == 200
