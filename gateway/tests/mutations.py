"""Valid requests, and mutations of their framing."""

import random
import re
from collections.abc import Callable

_HEAD = b" HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer good\r\nAccept: */*\r\n"
_INNER = b"GET /api/v1/users?inner" + _HEAD + b"\r\n"
ENDING = b"GET /api/v1/users/me?ending" + _HEAD + b"Connection: close\r\n\r\n"

_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
_VALID = (
    b"GET /api/v1/users/me" + _HEAD + b"\r\n",
    b"GET /api/v1/users?page=2&name=a%20b" + _HEAD + b"\r\n",
    b"HEAD /api/v1/users/157" + _HEAD + b"\r\n",
    b"DELETE /api/v1/users/157" + _HEAD + b"\r\n",
    b"POST /api/v1/users" + _HEAD + b'Content-Length: 18\r\n\r\n{"user": {"id":1}}',
    b"PATCH /api/v1/users/157" + _HEAD + b"Content-Length: 5\r\n\r\nhello",
    b"POST /oauth/token" + _HEAD + _FORM + b"Content-Length: 29\r\n\r\ngrant_type=client_credentials",
    b"POST /api/v1/users" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
    b"PATCH /api/v1/users/157"
    + _HEAD
    + b"Transfer-Encoding: chunked\r\n\r\na;b=c\r\n0123456789\r\n0\r\nX-A: b\r\n\r\n",
    b"POST /oauth/token" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 12 + b"0\r\n\r\n",
    b"POST /api/v1/users" + _HEAD + b"Content-Length: %d\r\n\r\n" % len(_INNER) + _INNER,
    b"PUT /oauth/token" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n%X\r\n" % len(_INNER) + _INNER + b"\r\n0\r\n\r\n",
    b"POST /api/v1/users/157/password" + _HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
)
_HEADERS = (
    *(
        b"Transfer-Encoding: " + value
        for value in (b"chunked", b"xchunked", b"gzip, chunked", b", chunked", b"identity")
    ),
    *(
        b"Transfer-Encoding" + rest
        for rest in (b":\x0bchunked", b" : chunked", b": chunked ", b":\tchunked", b":", b":chunked\r")
    ),
    *(
        b"Content-Length" + rest
        for rest in (b": 0", b": 3", b": 5", b": 05", b": +5", b": 5 ", b":5", b": 5,5", b" : 5", b": 0x5", b":")
    ),
    *(
        b"Connection: " + value
        for value in (b"close", b"content-length", b"transfer-encoding", b"host", b"keep-alive", b"Upgrade")
    ),
    *(b"Host" + rest for rest in (b": other.example", b": a b", b": a/b", b":", b" : a")),
    *(
        b"X-A: " + value
        for value in (
            b"\x00",
            b"\x7f",
            b"a\rb",
            b"a\nContent-Length: 3",
            b"\xff",
            b"\xc3\xa9",
            b"",
            b"a\r\n b",
            b"\t a \t",
        )
    ),
    *(b"Expect: 100-continue", b"Expect: more", b"Upgrade: h2c", b"Upgrade: websocket", b"Trailer: Content-Length"),
    *(b"Content_Length: 3", b"Transfer_Encoding: chunked", b" X-A: folded", b": no name", b"no colon", b"X-\x80: a"),
)
_METHODS = (
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"OPTIONS",
    b"get",
    b"GETT",
    b"G\tET",
    b"CONNECT",
    b"TRACE",
    b"PRI",
    b"",
    b" POST",
    b"M-SEARCH",
)
_TARGET_PARTS = (
    *(
        b"#part",
        b"%zz",
        b"%",
        b"%00",
        b"%2e%2e/",
        b"/../users",
        b"//",
        b"\\",
        b";a",
        b" ",
        b"  ",
        b"\t",
        b"\x80",
        b"\xc3\xa9",
        b"%2F",
        b"/./",
        b"%0d%0a",
    ),
    *(b"?a=%2B&b=+&c='", b"?d=%zz", b"&e=%41", b"?a=b?c", b"?%zz", b"?a=/../b", b"?#"),
)
_TARGETS = (
    b"*",
    b"http://api.example/api/v1/users/me",
    b"http://other.example/api/v1/users/me",
    b"//other.example/",
    b"api/v1/users/me",
    b"",
    b"api.example:443",
    b"/verify-token",
)
_VERSIONS = (
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"http/1.1",
    b"HTTP/01.1",
    b"HTTP/1.1 ",
    b" HTTP/1.1",
    b"HTTP/0.9",
    b"",
)
_CHUNK_SIZES = (
    b"0",
    b"00",
    b"005",
    b"0x5",
    b"+5",
    b"-5",
    b" 5",
    b"5 ",
    b"5\t",
    b"5;",
    b"5;a=b",
    b"5;\n",
    b"1_0",
    b"F",
    b"ffffffffffffffff",
    b"10000000000000005",
    b"",
)
_LINE_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b" \r\n", b"")
_BYTES = b"\r\n\t \0:;,%\x0b\x7f\x80/aA09"

_Mutator = Callable[[random.Random, bytes], bytes]


def mutated_requests(seed: int, number: int) -> list[bytes]:
    """The data of one connection each: a mutated request, sometimes with valid requests before and after it."""
    chance = random.Random(seed)
    return [_mutated(chance) for _ in range(number)]


def _mutated(chance: random.Random) -> bytes:
    raw = chance.choice(_VALID)
    for _ in range(chance.choice((1, 1, 1, 2))):
        raw = chance.choice(_MUTATORS)(chance, raw)
    before = b"".join(chance.choices(_VALID, k=chance.choice((0, 0, 1, 2))))
    behind = b"".join(chance.choices(_VALID, k=chance.choice((0, 0, 1, 2))))
    return before + raw + behind


def _replace(raw: bytes, span: tuple[int, int], by: bytes) -> bytes:
    return raw[: span[0]] + by + raw[span[1] :]


def _one_of(chance: random.Random, pattern: bytes, raw: bytes) -> tuple[int, int] | None:
    """The position of a random match, or None."""
    found = [match.span() for match in re.finditer(pattern, raw)]
    return chance.choice(found) if found else None


def _replacing(pattern: bytes, values: tuple[bytes, ...]) -> _Mutator:
    def mutate(chance: random.Random, raw: bytes) -> bytes:
        span = _one_of(chance, pattern, raw)
        return _replace(raw, span, chance.choice(values)) if span else _change_a_byte(chance, raw)

    return mutate


def _add_a_header(chance: random.Random, raw: bytes) -> bytes:
    """A position after any line of the head or of the trailers."""
    return _replacing(rb"(?<=\r\n)(?=[A-Z\r])", (chance.choice(_HEADERS) + b"\r\n",))(chance, raw)


def _extend_the_target(chance: random.Random, raw: bytes) -> bytes:
    target = re.match(rb"\S* (\S*)", raw)
    at = chance.randint(*target.span(1)) if target else 0
    return _replace(raw, (at, at), chance.choice(_TARGET_PARTS))


def _repeat_a_header(chance: random.Random, raw: bytes) -> bytes:
    line = chance.choice(raw.split(b"\r\n")) + b"\r\n"
    return _replacing(rb"(?<=\r\n)(?=[A-Z\r])", (line,))(chance, raw)


def _change_the_body(chance: random.Random, raw: bytes) -> bytes:
    """Replace bytes anywhere after the head, in chunk sizes and line ends too."""
    head, end, body = raw.partition(b"\r\n\r\n")
    at = chance.randrange(len(body) + 1)
    put = bytes(chance.choices(_BYTES, k=min(chance.randint(1, 4), len(body) - at)))
    return head + end + _replace(body, (at, at + len(put)), put)


def _change_a_byte(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return _replace(raw, (at, at + chance.choice((0, 1))), bytes([chance.choice(_BYTES)]))


def _cut(chance: random.Random, raw: bytes) -> bytes:
    start = chance.randrange(len(raw))
    return _replace(raw, (start, start + chance.randint(1, 8)), b"")


def _truncate(chance: random.Random, raw: bytes) -> bytes:
    return raw[: chance.randint(1, len(raw))]


def _begin_with_lines(chance: random.Random, raw: bytes) -> bytes:
    return chance.choice((b"\r\n", b"\n", b"\r\n\r\n", b"\r\n" * 700, b"\0", b"\x16\x03\x01\x00")) + raw


_MUTATORS: tuple[_Mutator, ...] = (
    *(_add_a_header, _add_a_header, _add_a_header, _repeat_a_header, _extend_the_target, _extend_the_target),
    *(_change_the_body, _change_the_body, _change_a_byte, _change_a_byte, _cut, _truncate, _begin_with_lines),
    _replacing(
        rb"(?<=Content-Length: )\d+",
        (b"0", b"1", b"4", b"6", b"05", b"+5", b"5 ", b"5, 5", b"0x5", b"-1", b"9" * 25, b""),
    ),
    _replacing(
        rb"(?<=Transfer-Encoding: )chunked",
        (b"Chunked", b"chunked, chunked", b"chunked;a=b", b"gzip", b'"chunked"', b"chunked,"),
    ),
    _replacing(rb"^[A-Z]+", _METHODS),
    _replacing(rb"(?<= )/\S*(?= HTTP)", _TARGETS),
    _replacing(rb"HTTP/1\.1", _VERSIONS),
    _replacing(rb": (?=\S)", (b":", b" : ", b":\t", b":  ", b"\t: ", b":\x0b", b": \r\n ")),
    _replacing(rb"(?<=\r\n)[0-9a-f]+(?:;b=c)?(?=\r\n)", _CHUNK_SIZES),
    _replacing(rb"\r\n", _LINE_ENDS),
)
