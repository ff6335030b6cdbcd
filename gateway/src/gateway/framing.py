"""Which requests are refused for how they are framed, before anything in them is believed."""

import re
from collections.abc import Iterable

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from gateway.refusals import RefusedError, malformed

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_BODILESS_METHODS = ("GET", "HEAD")


def check(request: web.Request, body_limit: int) -> None:
    """Refuse what another server could frame differently, and a body that is too large. Raises RefusedError."""
    if request.version not in (HttpVersion10, HttpVersion11):
        raise malformed("the version of HTTP is not supported")
    _check_host(request.headers.getall(hdrs.HOST, []))
    _check_transfer_encoding(request)
    if request.method in _BODILESS_METHODS and has_body(request):
        raise malformed("a request with this method has no body")
    expectations = request.headers.getall(hdrs.EXPECT, [])
    if any(value.lower() != "100-continue" for value in expectations):
        raise malformed("the expectation is not known", 417)
    if (request.content_length or 0) > body_limit:
        raise too_large()


def has_body(request: web.Request) -> bool:
    return hdrs.TRANSFER_ENCODING in request.headers or bool(request.content_length)


def must_close(request: web.Request) -> bool:
    """Whether nothing more may be read from the connection once this request is answered.

    Behind an `Upgrade` the client may already speak another protocol. Behind a chunked body may have stood trailers,
    and aiohttp's parser puts the last of them at the head of the next request.
    """
    return hdrs.UPGRADE in request.headers or hdrs.TRANSFER_ENCODING in request.headers


def too_large() -> RefusedError:
    return malformed("the body is too large", 413)


def _check_host(values: Iterable[str]) -> None:
    for value in values:
        host = _HOST.fullmatch(value)
        if host is None or int(host.group(1) or 0) > 65535:
            raise malformed("the Host header is malformed")


def _check_transfer_encoding(request: web.Request) -> None:
    """Accept `chunked` alone (RFC 9112 §6.1): every other spelling has been read in two ways by somebody."""
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, [])
    if not codings:
        return
    if request.version == HttpVersion10 or hdrs.CONTENT_LENGTH in request.headers:
        raise malformed("the body is framed ambiguously")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise malformed("the transfer coding is not supported")
