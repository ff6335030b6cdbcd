"""Faults of a request body. Each is added to valid members, so that only the fault can be the reason for a refusal."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import hdrs

from exchange import FORM, JSON

# Sent wherever text is allowed: no reply may repeat it.
MARKER = "Zq9-marker"
LIMIT = 64 * 1024
DEPTH = 10_000


@dataclass(frozen=True)
class Sent:
    """The part of a request after its first line: headers and a body, which is sent in chunks if `chunks` is set."""

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
    """`kind` is the class of the fault, for which each endpoint has a status; `name` is for people."""

    name: str
    kind: str
    make: Callable[[dict[str, Any]], Sent]


def _typed(content_type: str, raw: bytes, *headers: tuple[str, str], chunks: bool = False) -> Sent:
    return Sent(((hdrs.CONTENT_TYPE, content_type), *headers), raw, chunks)


def in_json(members: Mapping[str, Any], more: str = "") -> bytes:
    """The members as JSON, with the text `more` at the end."""
    return (json.dumps(members)[:-1] + f', "note": "{MARKER}"{more}}}').encode("utf-8", "surrogatepass")


def _bodies() -> Iterator[Fault]:
    """One fault of each kind, and those that once broke a service; the tests of the readers cover all others."""
    deep, long = "[" * DEPTH + "]" * DEPTH, "x" * LIMIT
    for name, kind, more in (
        ("trailing comma", "unreadable", ","),
        ("arrays 10,000 deep", "unreadable", f', "more": {deep}'),
        ("name given twice", "unreadable", ', "note": "again"'),
        ("NUL", "text", f', "more": "{MARKER}\\u0000"'),
        ("over 64 KiB", "large", f', "more": "{long}"'),
    ):
        yield Fault(name, kind, lambda members, more=more: _typed(JSON, in_json(members, more)))
    yield Fault("nothing", "unreadable", lambda _: _typed(JSON, b""))
    yield Fault("over 64 KiB in chunks", "large", lambda m: _typed(JSON, in_json(m, f', "x": "{long}"'), chunks=True))
    for content_type in ("text/plain", f"{JSON}; charset=utf-16", MARKER):
        make = lambda members, content_type=content_type: _typed(content_type, in_json(members))  # noqa: E731
        yield Fault(f"Content-Type: {content_type}", "type", make)
    yield Fault("no Content-Type", "type", lambda members: Sent((), in_json(members)))
    twice = (hdrs.CONTENT_TYPE, JSON)
    yield Fault("two Content-Types", "framing", lambda members: _typed(JSON, in_json(members), twice))
    coded = (hdrs.CONTENT_ENCODING, "gzip")
    yield Fault("gzip", "encoding", lambda members: _typed(JSON, gzip.compress(in_json(members)), coded))


def _forms() -> Iterator[Fault]:
    for name, more in {"invalid UTF-8": "%ff", "NUL": "%00", "name given twice": f"{MARKER}&note={MARKER}"}.items():
        make = lambda members, more=more: _typed(FORM, f"{urlencode(members)}&note={more}".encode())  # noqa: E731
        yield Fault(f"form: {name}", "unreadable", make)
    yield Fault("form: charset", "type", lambda members: _typed(f"{FORM}; charset=utf-7", urlencode(members).encode()))


BODY_FAULTS = tuple(_bodies())
FORM_FAULTS = tuple(_forms())
