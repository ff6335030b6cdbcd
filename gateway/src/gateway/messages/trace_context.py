"""The request id and the W3C Trace Context that identify a request in all logs."""

import random
import re
from dataclasses import dataclass

from gateway.messages.headers import Headers

_REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{8,64}")
# https://www.w3.org/TR/trace-context/#traceparent-header: later versions may append fields after another dash.
_PARENT = rb"(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rb"00-%b|(?!00|ff)[0-9a-f]{2}-%b(?:-.*)?" % (_PARENT, _PARENT))
_TRACESTATE_SIZE = 512
_TRACESTATE_MEMBERS = 32

# Ids are not secrets; they only have to be distinct.
_random = random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311


@dataclass(slots=True)
class Identity:
    """`trace_id` is 32 hexadecimal digits, `trace_lines` its header lines; both are empty without a trace."""

    request_id: bytes
    trace_id: bytes
    trace_lines: bytes


def new_request_id() -> bytes:
    """32 hexadecimal digits."""
    return b"%032x" % _random.getrandbits(128)


def identify(headers: Headers) -> Identity:
    """The identity that a client's headers state. A malformed trace is replaced by a new one."""
    ids = headers.get(b"x-request-id")
    request_id = ids[0] if ids and len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]) else new_request_id()
    parents = headers.get(b"traceparent")
    if parents is None:
        return Identity(request_id, b"", b"")
    if len(parents) == 1 and (parent := _TRACEPARENT.fullmatch(parents[0])):
        lines = b"traceparent: %b\r\n%b" % (parents[0], _tracestate(headers))
        return Identity(request_id, parent.group(1) or parent.group(2), lines)
    trace_id = new_request_id()
    lines = b"traceparent: 00-%b-%016x-00\r\n" % (trace_id, _random.getrandbits(64) or 1)
    return Identity(request_id, trace_id, lines)


def _tracestate(headers: Headers) -> bytes:
    state = b",".join(headers.get(b"tracestate", ()))
    if not state or len(state) > _TRACESTATE_SIZE or state.count(b",") >= _TRACESTATE_MEMBERS:
        return b""
    return b"tracestate: %b\r\n" % state
