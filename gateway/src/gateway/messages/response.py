"""The head of an answer as it is sent to the client, for an upstream's answer or the gateway's own."""

import time
from email.utils import formatdate
from http import HTTPStatus

from gateway.messages.headers import TO_CLIENT, sort
from gateway.messages.refusals import Answer, RefusedError
from gateway.messages.trace_context import new_request_id
from servicekit.http1.parser import ResponseHead

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"Connection: close\r\n"

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def relayed(head: ResponseHead, added: bytes, *, private: bool, chunked: bool) -> bytes:
    """The head of an upstream's answer. `added` are the gateway's own lines.

    A `private` answer is marked so for shared caches if the upstream sent no `Cache-Control`. The body is `chunked` if
    it came without a length and the client can read chunks.
    """
    lines, headers = sort(head.fields, TO_CLIENT)
    if private and b"cache-control" not in headers:
        added += b"Cache-Control: private\r\n"
    if chunked:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
    elif head.declared_length is not None:
        framing = b"Content-Length: %d\r\n\r\n" % head.declared_length
    else:
        framing = b"\r\n"
    return b"".join((_status_line(head.status), *lines, added, framing))


def switching(head: ResponseHead, added: bytes) -> bytes:
    """The head of the 101 response that opens a WebSocket."""
    lines, _ = sort(head.fields, TO_CLIENT)
    return b"".join((_status_line(101), *lines, added, b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))


def own(answer: Answer, added: bytes, *, with_body: bool) -> bytes:
    """A complete answer of the gateway's own. The body is left out if the request was HEAD."""
    length = b"" if answer.status == HTTPStatus.NO_CONTENT else b"Content-Length: %d\r\n" % len(answer.body)
    date = b"Date: %b\r\n\r\n" % formatdate(time.time(), usegmt=True).encode()
    body = answer.body if with_body else b""
    return b"".join((_status_line(answer.status), answer.lines, added, length, date, body))


def refusal(fault: RefusedError) -> bytes:
    """The answer to data that is not a valid request, and the last one on its connection."""
    return own(fault.answer(b""), b"X-Request-Id: %b\r\n%b" % (new_request_id(), CLOSE), with_body=True)
