"""Requests that two servers could read differently are refused, and nothing after them is read."""

import asyncio
import contextlib

import pytest

TOKEN = "/oauth/token"
HEAD = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\n"
SECRET = b"s3cr3t"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1",
        b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 1, 1",
        b"Content-Length: +1",
        b"Content-Length: -0",
        b"Content-Length: 1_0",
        b"Content-Length: 0x1",
        b"Content-Length: 1 1",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked;a=b",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: , chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding:\r\nContent-Length: 1",
        b"Transfer-Encoding:",
        b"Transfer-Encoding\x0b: chunked",
        b"Transfer-Encoding\x0c: chunked",
        b"Transfer-Encoding: chunked\x0c",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\r\n chunked",
    ],
)
async def test_an_ambiguous_length_is_refused(gateway, headers):
    await _is_refused(gateway, HEAD + headers + b"\r\n\r\n1\r\na\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b"POST /oauth/token HTTP/1.1\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost:\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a/../b\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: good@evil\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a:\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a\xff\r\n\r\n",
        HEAD + b"X: s3cr3t\0\r\n\r\n",
        HEAD + b"X: s3cr3t\x01\r\n\r\n",
        HEAD + b"X: s3cr3t\x7f\r\n\r\n",
        HEAD + b"X: s3cr3t\r\r\n\r\n",
        HEAD + b"X: s3cr3t\n\r\n",
        HEAD + b" X: s3cr3t\r\n\r\n",
        HEAD + b"X: s3cr3t\r\n folded\r\n\r\n",
        HEAD + b"X : s3cr3t\r\n\r\n",
        HEAD + b": s3cr3t\r\n\r\n",
        HEAD + b"s3cr3t\r\n\r\n",
        HEAD + "é: s3cr3t\r\n\r\n".encode(),
        b"post /oauth/token HTTP/1.1\r\nHost: a\r\n\r\n",
        b"S3CR3T /oauth/token HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /oauth/token HTTP/1.2\r\nHost: a\r\n\r\n",
        b"POST /oauth/token HTTP/2.0\r\nHost: a\r\n\r\n",
        b"POST /oauth/token HTTP/01.1\r\nHost: a\r\n\r\n",
        b"POST /oauth/token http/1.1\r\nHost: a\r\n\r\n",
        b"POST\t/oauth/token HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /oauth/token x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST  /oauth/token HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /oauth/token  HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\nHost: a\n\n",
        b"POST /oauth/token HTTP/1.1\r\nHost: a\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
        b"GET /oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HEAD /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
        # The length of the request that follows, which is read neither as a body nor as a request.
        b"GET /oauth/token HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Content-Length: 60\r\n\r\n",
        b"POST /oauth/token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_refused(gateway, head):
    await _is_refused(gateway, head)


def _head_of(size):
    """A head with one more header, whose value has this many bytes."""
    return HEAD + b"X: " + SECRET + b"x" * (size - len(SECRET)) + b"\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"".join(b"X-%d: s3cr3t\r\n" % number for number in range(128)), 431),
        (_head_of(8191), 431),
        (b"POST /oauth/token HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"s3cr3t" * 1300) * 9, 431),
        (b"POST /oauth/token?%b HTTP/1.1\r\nHost: a\r\n" % (b"s3cr3t" * 1400), 414),
        (b"POST /oauth/token?%b HTTP/1.1\r\nHost: a\r\n" % (b"x" * 8178), 414),
    ],
)
async def test_what_is_too_large_is_refused_for_that(gateway, head, status):
    await _is_refused(gateway, head + b"\r\n", status)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(127)) + b"\r\n",
        _head_of(8190) + b"\r\n",
        b"POST /oauth/token?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 8177),
    ],
)
async def test_what_is_just_small_enough_is_served(gateway, head):
    async with gateway.connect() as connection:
        await connection.send(head)
        assert (await connection.response()).status == 200


@pytest.mark.parametrize(
    "chunk",
    [
        b"1\na\r\n",
        b"1;\n\r\na\r\n",
        b"0x1\r\na\r\n",
        b"+1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1_0\r\na\r\n",
        b"1;\r\na\r\n",
        b"-1\r\na\r\n",
        b"1\r\naX\r\n",
        b"1\r\na0\r\n\r\n",
        b"fffffffffffffffff\r\na\r\n",
    ],
)
async def test_a_malformed_chunk_is_refused(gateway, chunk):
    async with gateway.connect() as connection:
        await connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n" + _canary(gateway))
        received = await connection.rest()
    assert received.split(b"\r\n", 1)[0].endswith(b"400 Bad Request")
    assert received.count(b"HTTP/1.") == 1
    assert not any(message.complete for message in gateway.auth.received)


async def test_a_client_of_http_1_0_is_served(gateway):
    async with gateway.connect() as connection:
        await connection.send(b"GET /oauth/token HTTP/1.0\r\n\r\n")
        received = await connection.rest()
    assert received.endswith(b"\r\n\r\nanswer")
    message = gateway.auth.requests[0]
    assert message.start == "GET /oauth/token HTTP/1.1"
    assert message.get("X-Forwarded-Host") is None


async def test_requests_on_one_connection_are_answered_in_order(gateway):
    async def script(message, _reader, writer):
        body = message.target.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    gateway.auth.script = script
    targets = [f"{TOKEN}?{number}" for number in range(20)]
    async with gateway.connect() as connection:
        await connection.send(b"".join(gateway.bytes("GET", target) for target in targets))
        assert [(await connection.response()).body.decode() for _ in targets] == targets


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0, HTTP/1.1"])
@pytest.mark.parametrize("path", [TOKEN, "/nowhere"])
async def test_an_upgrade_is_ignored_and_nothing_behind_it_is_read(gateway, upgrade, path):
    headers = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABk"))
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", path, *headers, body=_canary(gateway)) + _canary(gateway))
        answer = await connection.response()
        assert answer.status == (200 if path == TOKEN else 404)
        assert answer.get("Connection") == "close"
        assert await connection.rest() == b""
    assert [(message.method, message.body) for message in gateway.auth.received] == (
        [("POST", _canary(gateway))] if path == TOKEN else []
    )


async def test_an_unread_body_is_not_read_for_long(gateway):
    async with gateway.connect() as connection, asyncio.timeout(3):
        await connection.send(gateway.bytes("POST", "/nowhere", ("Content-Length", "1000000")))
        assert (await connection.response()).status == 404
        assert await connection.rest() == b""


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS"])
async def test_an_odd_body_is_none_of_the_next_request(gateway, method):
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes(method, TOKEN, body=_canary(gateway)) + gateway.bytes("GET", TOKEN))
        assert [(await connection.response()).status for _ in range(2)] == [200, 200]
    assert [(message.method, message.body) for message in gateway.auth.received] == [
        (method, _canary(gateway)),
        ("GET", b""),
    ]


async def test_a_length_under_another_name_is_no_length(gateway):
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN, ("Content_Length", "5")) + b"hello" + _canary(gateway))
        assert [(await connection.response()).status for _ in range(2)] == [200, 400]
        assert await connection.rest() == b""
    assert [message.target for message in gateway.auth.received] == [TOKEN]
    assert "content_length" not in gateway.auth.received[0].names


@pytest.mark.parametrize(
    ("beginning", "more"), [(b"1;", b"x" * 8000), (b"1;a=", b"b;c=" * 2000), (b"1\r\na\r\n0\r\n", b"X: y\r\n" * 1000)]
)
async def test_what_frames_a_body_is_not_read_for_ever(gateway, beginning, more):
    async with gateway.connect() as connection:
        await connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + beginning)
        with contextlib.suppress(ConnectionError):
            for _ in range(16):
                await connection.send(more)
        assert (await connection.response()).status == 400
    assert gateway.nothing_sent()


async def test_small_chunks_are_no_offence(gateway):
    async with gateway.connect() as connection:
        await connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
        assert (await connection.response()).status == 200
    assert gateway.auth.received[0].body == b"a" * 50_000


def _canary(gateway):
    return gateway.bytes("GET", "/oauth2/token")


async def _is_refused(gateway, raw, status=400):
    message = await gateway.refuses(raw, status)
    assert message.json()["error"] == "invalid_request"
    assert message.get("Content-Type").startswith("application/problem+json")
    assert SECRET not in message.body
