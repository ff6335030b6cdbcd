"""Bodies of answers: streamed to the client, at the client's pace, and never made to look complete."""

import asyncio

import pytest

TOKEN = "/oauth/token"
MEBIBYTE = 1024 * 1024


async def test_a_trailer_of_an_answer_stays_here(gateway):
    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Parley-Sub\r\n\r\n")
        writer.write(b"1;a=b\r\nx\r\n0\r\nX-Parley-Sub: 1\r\n\r\n")

    gateway.auth.script = script
    answer = await gateway.request("GET", TOKEN)  # the test client would not read a body with a trailer
    assert (answer.body, answer.get("Trailer")) == (b"x", None)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 10", b"Connection: close"])
async def test_a_response_is_streamed_down(gateway, framing):
    read = asyncio.Event()
    frame = (lambda data: b"%x\r\n%s\r\n" % (len(data), data)) if b"chunked" in framing else (lambda data: data)

    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + frame(b"first"))
        await read.wait()
        writer.write(frame(b"other") + (b"0\r\n\r\n" if b"chunked" in framing else b""))
        if b"close" in framing:
            writer.close()

    gateway.auth.script = script
    async with gateway.connect() as connection, asyncio.timeout(5):
        await connection.send(gateway.bytes("GET", TOKEN))
        head = await connection.head()
        length = head.get("Content-Length")
        assert length == ("10" if b"Length" in framing else None)
        first = b"first" if length else b"5\r\nfirst\r\n"
        assert await connection.reader.readexactly(len(first)) == first
        read.set()
        rest = b"other" if length else b"5\r\nother\r\n0\r\n\r\n"
        assert await connection.reader.readexactly(len(rest)) == rest


async def test_a_slow_reader_holds_the_upstream_back(gateway):
    size, finished = 64 * MEBIBYTE, asyncio.Event()

    async def script(_message, _reader, writer):
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(64):
            writer.write(bytes(MEBIBYTE))
            await writer.drain()
        finished.set()

    gateway.auth.script = script
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", TOKEN))
        await connection.head()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(finished.wait(), 0.3)
        assert len(await connection.reader.readexactly(size)) == size
        assert finished.is_set()


async def test_an_answer_that_ends_with_its_connection_is_not_ended_by_a_fault(gateway):
    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        writer.close()

    gateway.auth.script = script
    async with gateway.connect() as connection:
        await connection.send(b"GET /oauth/token HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(connection.reader.read(), 5)


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", 200, (("Content-Length", "1234"), ("ETag", '"a"'))),
        ("GET", 204, ()),
        ("GET", 304, (("ETag", '"a"'), ("Content-Length", "1234"))),
        ("GET", 205, (("Content-Length", "0"),)),
    ],
)
async def test_a_response_without_a_body_leaves_the_connection_usable(gateway, method, status, headers):
    gateway.auth.answers(status, b"", *headers, framed=False)
    async with gateway.connect() as connection:
        for _ in range(2):
            await connection.send(gateway.bytes(method, TOKEN))
            answer = await connection.response(bodiless=True)
            assert answer.status == status
            assert {header for header in headers if header[0] == "ETag"} <= set(answer.headers)
            if method == "HEAD":
                assert answer.get("Content-Length") == "1234"
    assert gateway.auth.connections <= 1
