"""Streams a request to an upstream and its response back, each body as it arrives and never as a whole."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import structlog
from aiohttp import HttpVersion11, hdrs, web

from gateway import framing, refusals, upstreams
from gateway.headers import Headers, UnsendableHeaderError, to_client
from servicekit import http

log = structlog.get_logger()

# Set on a response that came without a Content-Type, which aiohttp would give one.
UNTYPED = web.ResponseKey("untyped", bool)


class _Body:
    """A client's body on its way up. What was wrong with it is kept in `fault`: aiohttp wraps what iteration raises."""

    def __init__(self, request: web.Request, limit: int, timeout: float) -> None:
        self._request = request
        self._limit = limit
        self._timeout = timeout
        self.fault: refusals.RefusedError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks():
                yield chunk
        except refusals.RefusedError as fault:
            self.fault = fault
            raise

    async def _chunks(self) -> AsyncIterator[bytes]:
        deadline = asyncio.get_running_loop().time() + self._timeout
        await self._continue()
        if not self._request.content.is_eof():
            yield b""  # sends the head now, so that the upstream may answer before the body is there
        received = 0
        while chunk := await self._read(deadline):
            received += len(chunk)
            if received > self._limit:
                raise framing.too_large()
            yield chunk

    async def _read(self, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._request.content.readany()
        except TimeoutError:
            raise refusals.malformed("the body did not arrive in time", 408) from None
        except web.RequestPayloadError:
            raise refusals.malformed("the body is malformed") from None

    async def _continue(self) -> None:
        """Ask for the body of a client that waits to be asked: only now is the request known to be let through."""
        if hdrs.EXPECT in self._request.headers and self._request.version == HttpVersion11:
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0  # as aiohttp does: the response itself has not been started


class Proxy:
    """The way to one upstream. Times are in seconds."""

    def __init__(
        self, session: aiohttp.ClientSession, origin: str, *, body_limit: int, body_timeout: float, read_timeout: float
    ) -> None:
        self._session = session
        self._origin = origin
        self._body_limit = body_limit
        self._body_timeout = body_timeout
        self._read_timeout = read_timeout

    async def forward(
        self, request: web.Request, target: str, headers: Headers, *, private: bool = False
    ) -> web.StreamResponse:
        """Send the request on with these headers and relay the answer. Raises RefusedError when there is none.

        No shared cache may keep a `private` answer, whatever the upstream forgot to say.
        """
        body = _Body(request, self._body_limit, self._body_timeout) if framing.has_body(request) else None
        if body is not None and request.content_length is not None:
            headers = [*headers, (hdrs.CONTENT_LENGTH, str(request.content_length))]
        try:
            async with asyncio.timeout(self._body_timeout + self._read_timeout) as limit:
                async with self._session.request(
                    request.method,
                    upstreams.url_of(self._origin, target),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as answer:
                    limit.reschedule(None)
                    return await _relay(request, answer, _head(request, answer, private=private))
        except (aiohttp.ClientError, TimeoutError) as error:
            if body is not None and body.fault is not None:
                raise body.fault from None
            raise _refusal(error) from error


def _refusal(error: Exception) -> refusals.RefusedError:
    log.warning("an upstream failed", cause=type(error).__name__)
    if upstreams.could_not_connect(error):
        return refusals.unavailable("the service cannot be reached")
    if isinstance(error, TimeoutError):
        return refusals.upstream_failed(504, "the service did not answer in time")
    return refusals.upstream_failed(502, "the service broke off")


async def _relay(
    request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
) -> web.StreamResponse:
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        log.warning("a response was cut short", cause=type(error).__name__)
        if request.transport is not None:
            # Ending the response would make what was cut short look complete.
            request.transport.abort()
    return response


def _head(request: web.Request, answer: aiohttp.ClientResponse, *, private: bool) -> web.StreamResponse:
    if not 200 <= answer.status <= 599:
        raise refusals.upstream_failed(502, "the service answered with a status that has no place here")
    try:
        headers = to_client(answer.raw_headers)
    except UnsendableHeaderError:
        raise refusals.upstream_failed(502, "the service answered with a malformed header") from None
    response = web.StreamResponse(status=answer.status)
    for name, value in [*headers, *http.outgoing_request_id().items()]:
        response.headers.add(name, value)
    if private:
        response.headers.setdefault(hdrs.CACHE_CONTROL, "private")
    response[UNTYPED] = hdrs.CONTENT_TYPE not in response.headers
    if framing.must_close(request):
        response.force_close()
    return response


async def leave_untyped(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: take away the Content-Type that aiohttp gives to a response without one."""
    if response.get(UNTYPED):
        response.headers.pop(hdrs.CONTENT_TYPE, None)
