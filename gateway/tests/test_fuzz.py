"""Arbitrary bytes from either side are read or refused as malformed, however they are split."""

import asyncio
import contextlib
import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.messages.parser import RequestHead, check_beginning
from gateway.messages.request import Request
from servicekit.http1.parser import HEAD_END, ChunkedBody, LengthBody, MalformedMessageError
from servicekit.http1.response_parser import ResponseParser

TOKEN = "/oauth/token"
NAMES = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Expect",
        b"Upgrade",
        b"X-User-Id",
        b"X",
        b"host",
    ]
)
VALUES = st.sampled_from(
    [
        b"a",
        b"5",
        b"0",
        b"-1",
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"close",
        b"X, close",
        b"100-continue",
        b"",
        b" 5 ",
    ]
) | st.binary(max_size=8)
LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.1",
        b"PUT * HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"HEAD /#a HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
    ]
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
STATUSES = st.sampled_from([b"200 OK", b"204 No", b"304 Not", b"100 Go", b"101 Switch", b"999 Odd", b"099 Odd", b"200"])
BODIES = st.sampled_from([b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", b"zz\r\n"])
MANY = settings(max_examples=400, deadline=None)


def _head(line, fields):
    return b"\r\n".join([line, *(b"%b: %b" % field for field in fields), b"", b""])


def _cut(data, cuts):
    """The same bytes, split into pieces."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def _read(head):
    try:
        return Request(RequestHead(head))
    except MalformedMessageError as fault:
        if fault.status not in (400, 414, 417, 431):
            raise
        return None


@MANY
@given(st.binary(max_size=200) | st.builds(_head, LINES, FIELDS))
@example(b"\r\n\r\n")
@example(b"GET / HTTP/1.1\n\n\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\n\nGET /b HTTP/1.1\r\n\r\n")
def test_a_head_is_read_or_refused(data):
    _read(data + HEAD_END)
    with contextlib.suppress(MalformedMessageError):
        check_beginning(bytearray(data), 0)


@MANY
@given(LINES, FIELDS)
def test_what_is_sent_up_is_read_as_what_was_received(line, fields):
    request = _read(_head(line, [(b"Host", b"a"), *fields]))
    if request is None:
        return
    again = _read(request.head_for(b"upstream:1", b"x-request-id: 1\r\n"))
    assert again is not None
    assert (again.method, again.target) == (request.method, request.target)
    assert (again.length, again.chunked) == (request.length, request.chunked)
    assert again.host == b"upstream:1"
    assert {b"upgrade", b"connection", b"expect", b"x-user-id"}.isdisjoint(again.headers)


def _content(body, pieces):
    content = b""
    for piece in pieces:
        content += body.feed(piece)
        if body.complete:
            break
    return content, body.complete


@MANY
@given(BODIES | st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=5))
def test_a_chunked_body_is_the_same_however_it_is_cut(data, cuts):
    def read(pieces):
        try:
            return _content(ChunkedBody(), pieces)
        except MalformedMessageError:
            return None

    assert read(_cut(data, cuts)) == read([data])


@MANY
@given(st.binary(max_size=60), st.integers(0, 80), st.lists(st.integers(0, 100), max_size=5))
def test_a_body_of_a_length_is_no_longer(data, length, cuts):
    content, complete = _content(LengthBody(length), _cut(data, cuts))
    assert content == data[:length]
    assert complete == (len(data) >= length)


class Sink:
    """Records what a response parser reports, which must be in order."""

    def __init__(self):
        self.heads, self.body, self.ended = [], b"", 0

    def on_head(self, head):
        assert not self.ended
        self.heads.append((head.status, head.fields))

    def on_body(self, data):
        assert self.heads
        assert not self.ended
        self.body += data

    def on_end(self):
        self.ended += 1
        assert self.ended == 1


def _answered(pieces, method, *, upgrade):
    sink = Sink()
    parser = ResponseParser(sink)
    parser.expect(method, upgrade=upgrade)
    malformed = False
    try:
        for piece in pieces:
            parser.feed(piece)
            if sink.ended:
                break
    except MalformedMessageError:
        malformed = True
    if not sink.ended and not malformed:
        parser.finish()
    return sink.heads, sink.body, sink.ended, malformed


@MANY
@given(
    st.binary(max_size=100)
    | st.builds(lambda status, fields, body: _head(b"HTTP/1.1 " + status, fields) + body, STATUSES, FIELDS, BODIES),
    st.sampled_from([b"GET", b"HEAD"]),
    st.booleans(),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_an_answer_is_the_same_however_it_is_cut(data, method, upgrade, cuts):
    whole = _answered([data], method, upgrade=upgrade)
    in_pieces = _answered(_cut(data, cuts), method, upgrade=upgrade)
    assert whole[0] == in_pieces[0]
    assert whole[2:] == in_pieces[2:]
    assert whole[1] == in_pieces[1] or whole[3], "what a malformed body held before its fault may have gone on already"


async def test_garbage_from_either_side_leaves_the_gateway_serving(start_gateway):
    faults = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    gateway = await start_gateway(first_byte_timeout=0.2, header_timeout=0.2, keepalive_timeout=0.2, read_timeout=0.5)
    garbage = [bytes((number * step) % 256 for number in range(300)) for step in range(1, 60, 2)]
    garbage += [
        _head(b"POST /oauth/token HTTP/1.1", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]) + each
        for each in garbage
    ]

    async def throw(data):
        async with gateway.connect() as connection:
            with contextlib.suppress(ConnectionError):
                await connection.send(data)
            await connection.rest()

    async def answer(data):
        async def script(_message, _reader, writer):
            writer.write(data)
            writer.close()

        gateway.auth.script = script
        assert (await gateway.request("GET", TOKEN)).status == 502

    try:
        await asyncio.gather(*(throw(data) for data in garbage))
        for data in garbage[:15]:
            await answer(data)
        gateway.auth.answers(200, b"still here")
        assert (await gateway.request("GET", TOKEN)).body == b"still here"
    finally:
        loop.set_exception_handler(None)
    assert faults == []
