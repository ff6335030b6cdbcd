"""Ways in which a request body can be bad. Each is made from members that would do, so the fault alone is refused."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import hdrs

from exchange import FORM, JSON

# Sent wherever a text may stand: no reply may repeat it.
MARKER = "Zq9-marker"
LIMIT = 64 * 1024
DEPTH = 10_000
WRONG_TYPES = (5, 1.5, True, [MARKER], {MARKER: MARKER})


@dataclass(frozen=True)
class Sent:
    """What follows the request line: headers and a body, in chunks where `chunks` says so."""

    headers: tuple[tuple[str, str], ...]
    raw: bytes
    chunks: bool = False

    @property
    def body(self) -> bytes | AsyncIterator[bytes]:
        return _in_chunks(self.raw) if self.chunks else self.raw


async def _in_chunks(raw: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), 8192):
        yield raw[start : start + 8192]


@dataclass(frozen=True)
class Fault:
    """`kind` says what is wrong, which each endpoint has its own status for; `name` is for people."""

    name: str
    kind: str
    make: Callable[[dict[str, Any]], Sent]


def _typed(content_type: str, raw: bytes, *headers: tuple[str, str], chunks: bool = False) -> Sent:
    return Sent(((hdrs.CONTENT_TYPE, content_type), *headers), raw, chunks)


def in_json(members: Mapping[str, Any], more: str = "") -> bytes:
    """The members as JSON, with `more` text at their end."""
    return (json.dumps(members)[:-1] + f', "note": "{MARKER}"{more}}}').encode("utf-8", "surrogatepass")


def _unreadable() -> Iterator[Fault]:
    """Bodies that are not a JSON object."""
    for name, more in {
        "trailing comma": ",",
        "name without value": ', "more"',
        "NaN": ', "more": NaN',
        "integer of 5000 digits": ', "more": ' + "9" * 5000,
        "arrays 10,000 deep": ', "more": ' + "[" * DEPTH + "]" * DEPTH,
        "objects 10,000 deep": ', "more": ' + '{"a":' * DEPTH + "1" + "}" * DEPTH,
        "name given twice": ', "note": "again"',
        "control character": ', "more": "\x01"',
        "surrogate in UTF-8": ', "more": "\udfff"',
    }.items():
        yield Fault(name, "unreadable", lambda members, more=more: _typed(JSON, in_json(members, more)))
    for name, change in {
        "cut short": lambda raw: raw[:-1],
        "something behind it": lambda raw: raw + b"x",
        "invalid UTF-8": lambda raw: raw.replace(MARKER.encode(), b"\xff"),
        "byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
        "UTF-16": lambda raw: raw.decode().encode("utf-16"),
        "no object": lambda raw: b"[" + raw + b"]",
        "nothing": lambda _: b"",
        "a text": lambda _: json.dumps(MARKER).encode(),
        "null": lambda _: b"null",
    }.items():
        yield Fault(name, "unreadable", lambda members, change=change: _typed(JSON, change(in_json(members))))


def _texts() -> Iterator[Fault]:
    """Texts that UTF-8 or a database cannot hold."""
    for name, more in {
        "NUL": "\\u0000",
        "lone surrogate": "\\ud800",
        "surrogates in reverse": "\\udc00\\ud800",
    }.items():
        text = f', "more": "{MARKER}{more}"'
        yield Fault(name, "text", lambda members, text=text: _typed(JSON, in_json(members, text)))
    yield Fault("NUL in a name", "text", lambda members: _typed(JSON, in_json(members, ', "a\\u0000": ""')))


def _types() -> Iterator[Fault]:
    """A body that would do, if it were not called something else."""
    for content_type in (
        "text/plain",
        "application/jsonx",
        f"multipart/form-data; boundary={MARKER}",
        f"{JSON}; charset=utf-7",
        f"{JSON}; charset=utf-16",
        f"{JSON}; charset={MARKER}",
        MARKER,
    ):
        make = lambda members, content_type=content_type: _typed(content_type, in_json(members))  # noqa: E731
        yield Fault(f"Content-Type: {content_type}", "type", make)
    yield Fault("no Content-Type", "type", lambda members: Sent((), in_json(members)))


def _transport() -> Iterator[Fault]:
    long = f', "more": "{"x" * LIMIT}"'
    twice = (hdrs.CONTENT_TYPE, JSON)
    yield Fault("two Content-Types", "framing", lambda members: _typed(JSON, in_json(members), twice))
    yield Fault("over 64 KiB", "large", lambda members: _typed(JSON, in_json(members, long)))
    yield Fault("over 64 KiB in chunks", "large", lambda members: _typed(JSON, in_json(members, long), chunks=True))
    for coding, change in {"gzip": gzip.compress, "deflate": bytes, "br": bytes, MARKER: bytes}.items():
        coded = (hdrs.CONTENT_ENCODING, coding)
        make = lambda members, coded=coded, change=change: _typed(JSON, change(in_json(members)), coded)  # noqa: E731
        yield Fault(f"Content-Encoding: {coding}", "encoding", make)


def _forms() -> Iterator[Fault]:
    for name, more in {
        "invalid UTF-8": "%ff",
        "invalid UTF-8 in a name": "x&%fe=x",
        "overlong UTF-8": "%c0%80",
        "surrogate": "%ed%a0%80",
        "NUL": "%00",
        "name given twice": f"{MARKER}&note={MARKER}",
        "a hundred fields too many": "".join(f"&{number}=" for number in range(101)),
    }.items():
        make = lambda members, more=more: _typed(FORM, f"{urlencode(members)}&note={more}".encode())  # noqa: E731
        yield Fault(f"form: {name}", "unreadable", make)
    yield Fault("form: raw byte", "unreadable", lambda m: _typed(FORM, urlencode(m).encode() + b"&note=\xff"))
    for charset in ("utf-7", "utf-16", MARKER):
        make = lambda m, charset=charset: _typed(f"{FORM}; charset={charset}", urlencode(m).encode())  # noqa: E731
        yield Fault(f"form: charset {charset}", "type", make)


JSON_FAULTS = (*_unreadable(), *_texts(), *_types(), *_transport())
FORM_FAULTS = tuple(_forms())
