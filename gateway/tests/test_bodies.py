"""Bodies of requests: sent on whole or not at all, and never longer than allowed."""

import asyncio
import gzip

import pytest

from wire import until

PASSWORD = "/api/v1/users/157/password"
TOKEN = "/oauth/token"
LIMIT = 64 * 1024
MEBIBYTE = 1024 * 1024
CHUNKED = ("Transfer-Encoding", "chunked")
DENIAL = ("WWW-Authenticate", 'Bearer realm="parley", error="invalid_token"')


@pytest.mark.parametrize("size", [0, 1, 1000, LIMIT])
async def test_a_body_goes_up_as_it_is(gateway, size):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert (await gateway.request("POST", TOKEN, body=body)).status == 200
    message = gateway.auth.requests[0]
    assert message.complete
    assert message.body == body
    assert message.get("Content-Length") == str(size)


async def test_a_length_is_sent_on_in_canonical_form(gateway):
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, ("Content-Length", "0002")) + b"ab")
        assert (await connection.response()).status == 200
    assert gateway.auth.requests[0].get("Content-Length") == "2"
    assert gateway.auth.requests[0].body == b"ab"


async def test_a_chunked_body_goes_up_chunked_without_extensions_and_trailers(gateway):
    trailers = b"X-User-Id: admin\r\nAuthorization: Bearer other\r\n"
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, CHUNKED, ("Trailer", "X-User-Id")))
        await connection.send(b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\n" + trailers + b"\r\n")
        assert (await connection.response()).status == 200
    message = gateway.auth.requests[0]
    assert message.body == b"abcde"
    assert message.get("Transfer-Encoding") == "chunked"
    assert message.get("Content-Length") is None
    assert {"x-user-id", "authorization", "trailer"}.isdisjoint(message.names)


async def test_a_trailer_says_nothing_about_the_request(gateway):
    chunks = b"1\r\na\r\n0\r\nHost: b\r\nX-Custom: c\r\n\r\n"
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, CHUNKED) + chunks)
        assert (await connection.response()).status == 200
    assert gateway.auth.requests[0].get("X-Forwarded-Host") == "api.example"
    assert "x-custom" not in gateway.auth.requests[0].names


@pytest.mark.parametrize("trailer", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_trailer_that_frames_is_refused(gateway, trailer):
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, CHUNKED) + f"1\r\na\r\n0\r\n{trailer}\r\n\r\n".encode())
        assert (await connection.response()).status == 400
        await connection.rest()
    assert gateway.nothing_sent()


@pytest.mark.parametrize("path", [TOKEN, "/nowhere"])
async def test_trailers_are_not_read_as_headers_of_the_next_request(gateway, path):
    async with gateway.connect() as connection:
        chunks = b"0\r\nAuthorization: Bearer other\r\n\r\n"
        await connection.send(gateway.bytes("POST", path, CHUNKED) + chunks + gateway.bytes("POST", "/oauth2/token"))
        await connection.rest()
    assert all(message.get("Authorization") is None for message in gateway.auth.requests)


async def test_a_compressed_body_stays_compressed_both_ways(gateway):
    body, encoding = gzip.compress(b"x" * 10_000), ("Content-Encoding", "gzip")
    gateway.auth.answers(200, body, encoding, ("ETag", '"strong"'))
    answer = await gateway.request("POST", TOKEN, encoding, body=body)
    assert gateway.auth.requests[0].body == answer.body == body
    assert gateway.auth.requests[0].get("Content-Encoding") == answer.get("Content-Encoding") == "gzip"
    assert answer.get("ETag") == '"strong"'


async def test_a_body_that_says_it_is_too_large_is_refused_unread(gateway):
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", PASSWORD, ("Content-Length", str(LIMIT + 1))))
        answer = await connection.response()
    assert (answer.status, answer.json()["error"]) == (413, "invalid_request")
    assert answer.get("Connection") == "close"
    assert gateway.nothing_sent()


async def test_a_body_that_turns_out_too_large_is_refused(gateway):
    authorization = ("Authorization", "Bearer good")
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", PASSWORD, CHUNKED, authorization) + b"10001\r\n" + bytes(LIMIT + 1))
        answer = await connection.response()
        assert (answer.status, answer.json()["error"]) == (413, "invalid_request")
        assert await connection.rest() == b""
    assert gateway.users.requests == []


@pytest.mark.parametrize("framing", [("Content-Length", str(MEBIBYTE)), CHUNKED])
async def test_a_body_that_is_too_large_for_a_token_path_is_refused_by_its_service(gateway, framing):
    """The service refuses it in its own form. It needs only the length, or as much of the body as it reads."""
    read = []

    async def refusing(_message, reader, writer):
        if framing == CHUNKED:
            size = int(await reader.readline(), 16)
            read.append(await reader.readexactly(size))
        writer.write(b"HTTP/1.1 413 R\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords")

    gateway.auth.script = refusing
    body = b"%x\r\n%b" % (MEBIBYTE, b"x" * MEBIBYTE) if framing == CHUNKED else b""
    async with gateway.connect() as connection:
        connection.writer.write(gateway.bytes("POST", TOKEN, framing) + body)
        answer = await connection.response()
        assert (answer.status, answer.body, answer.get("Connection")) == (413, b"words", "close")
    await _is_abandoned(gateway.auth.requests[0])
    assert all(LIMIT < len(content) < LIMIT * 5 for content in read)


async def test_an_upstream_hears_of_a_request_when_its_body_is_whole(gateway):
    async with gateway.connect() as connection:
        for part in (gateway.bytes("POST", TOKEN, CHUNKED), b"3\r\nab", b"c\r\n", b"2\r\nde\r\n0\r\n\r"):
            await connection.send(part)
            assert (await gateway.request("GET", TOKEN)).status == 200
        assert {message.method for message in gateway.auth.requests} == {"GET"}
        await connection.send(b"\n")
        assert (await connection.response()).status == 200
    assert gateway.auth.requests[-1].body == b"abcde"


async def test_a_slow_body_is_given_up(start_gateway):
    gateway = await start_gateway(body_timeout=0.1)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, ("Content-Length", "10")) + b"abc")
        answer = await connection.response()
        assert (answer.status, answer.json()["error"]) == (408, "invalid_request")
        assert await connection.rest() == b""
    assert gateway.nothing_sent()


@pytest.mark.parametrize("framing", [("Content-Length", "10"), CHUNKED])
async def test_a_body_that_its_client_abandons_goes_nowhere(gateway, framing):
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, framing) + b"3\r\nabc\r\n")
        await until(lambda: gateway.serving.statuses()[0]["in_flight"] == 1)
    await until(lambda: gateway.serving.statuses()[0]["in_flight"] == 0)
    assert gateway.nothing_sent()


async def test_a_body_that_breaks_off_malformed_goes_nowhere(gateway):
    malformed = gateway.counter("malformed")
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, CHUNKED) + b"3\r\nabc\r\n")
        await connection.send(b"zz\r\n")
        assert (await connection.response()).status == 400
        await connection.rest()
    assert gateway.nothing_sent()
    assert gateway.counter("malformed") == malformed + 1


@pytest.mark.parametrize("status", [200, 401, 413])
@pytest.mark.parametrize("sent", [b"", b"abc"])
async def test_an_answer_before_the_body_was_read_is_relayed(gateway, status, sent):
    async def early(_message, reader, writer):
        writer.write(f"HTTP/1.1 {status} R\r\nContent-Length: 5\r\n\r\nearly".encode())
        await reader.read()
        writer.close()

    gateway.auth.script = early
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, ("Content-Length", str(LIMIT + 1))) + sent)
        answer = await connection.response()
        assert (answer.status, answer.body) == (status, b"early")
    await asyncio.wait_for(gateway.auth.requests[0].gone.wait(), 5)
    gateway.auth.answers(200, b"next")
    connections = gateway.auth.connections
    assert (await gateway.request("GET", TOKEN)).body == b"next"
    assert gateway.auth.connections == connections + 1, "a connection with half a body was used again"


async def test_a_body_is_not_asked_for_before_the_token_was_verified(gateway):
    gateway.auth.judges(401, b"no", DENIAL)
    async with gateway.connect() as connection:
        await connection.send(_expecting(gateway, PASSWORD, "100-continue"))
        answer = await connection.response()
        assert (answer.status, answer.get("Connection")) == (401, "close")
        assert await connection.rest() == b""
    assert gateway.users.received == []


@pytest.mark.parametrize(("path", "name"), [(PASSWORD, "users"), (TOKEN, "auth")])
@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
async def test_a_body_is_asked_for_once_the_request_is_let_through(gateway, path, name, expectation):
    async with gateway.connect() as connection:
        await connection.send(_expecting(gateway, path, expectation))
        assert (await connection.head()).start == "HTTP/1.1 100 Continue"
        await connection.send(b"{}")
        assert (await connection.response()).status == 200
    message = {"auth": gateway.auth, "users": gateway.users}[name].requests[0]
    assert message.body == b"{}"
    assert message.get("Expect") is None


@pytest.mark.parametrize("expectation", ["foo", "100-continue, foo", ""])
async def test_an_unknown_expectation_is_refused(gateway, expectation):
    await gateway.refuses(gateway.bytes("POST", TOKEN, ("Expect", expectation), ("Content-Length", "0")), 417)


def _expecting(gateway, path, expectation):
    headers = (("Expect", expectation), ("Content-Length", "2"), ("Authorization", "Bearer good"))
    return gateway.bytes("POST", path, *headers)


async def _is_abandoned(message):
    """The upstream saw the connection end before the body did."""
    await asyncio.wait_for(message.gone.wait(), 5)
    assert not message.complete


async def test_what_was_given_up_is_not_delivered_later(gateway):
    """The upstream reads nothing for a while, so the kernel holds what was sent to it."""
    size = LIMIT
    given_up, read = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def late(_message, reader, _writer):
        await given_up.wait()
        try:
            await reader.readexactly(size)
        except (ConnectionResetError, asyncio.IncompleteReadError) as error:
            read.set_result(type(error))
        else:
            read.set_result(size)
        raise ConnectionResetError

    gateway.auth.script = late
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", TOKEN, body=bytes(size)))
        message = await gateway.auth.arrival()
    await until(lambda: gateway.serving.statuses()[0]["upstreams"]["auth"]["connections"] == 0)
    given_up.set()
    assert await asyncio.wait_for(read, 5) is ConnectionResetError
    assert not message.complete
