"""The frame around every service's requests: strict reads, request ids, one log line each, problem documents."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from aiohttp import hdrs, web
from structlog.contextvars import bound_contextvars

from servicekit import callers, logs, request_ids, wire

BODY_LIMIT = 64 * 1024
BODY_TIMEOUT = 10.0
CLIENT_CLOSED_REQUEST = 499  # only for the log: the client has gone
RETRY_AFTER = {"Retry-After": "1"}
OVERLOAD = "X-Parley-Overload"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# The reasons why a service cannot serve, a short phrase each.
Faults = Callable[[], Awaitable[Sequence[str]]]

# The name of a request's route in the access log, for routes that aiohttp's own router does not know.
ROUTE = web.RequestKey("route", str)

log = structlog.get_logger()


class ServiceUnavailableError(Exception):
    """A failure of ours or of a dependency: answered with 503, never with a 4xx."""

    retry_after = 1  # seconds
    headers: Mapping[str, str] = {}
    logged = True  # with its traceback


class OverloadedError(ServiceUnavailableError):
    """The service is overloaded; the answer says so, so that the caller can back off.

    The code that raises this counts it: a flood must not write a traceback each time.
    """

    headers: Mapping[str, str] = {OVERLOAD: "1"}
    logged = False

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after


class LeftBehindError(ServiceUnavailableError):
    """This process stood still while the request waited; one log line reports all such requests."""

    logged = False


async def read_body(request: web.Request) -> bytes:
    """Read the request's body, at most 64 KiB, within ten seconds; aiohttp itself has no time limit for bodies.

    Raises `wire.MalformedBodyError` with status 400, 408, 413 or 415, and `callers.CallerGoneError`.
    """
    if hdrs.CONTENT_ENCODING in request.headers:
        raise wire.MalformedBodyError("a content encoding is not supported", 415)
    if (request.content_length or 0) > BODY_LIMIT:
        raise wire.MalformedBodyError("the body is too large", 413)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise wire.MalformedBodyError("the body is too large", 413)
    except TimeoutError:
        raise wire.MalformedBodyError("the body did not arrive in time", 408) from None
    except web.RequestPayloadError:
        raise wire.MalformedBodyError("the body is framed wrongly") from None
    except ConnectionError:
        raise callers.CallerGoneError from None
    return bytes(body)


async def read_object(request: web.Request, media_types: tuple[str, ...], *, optional: bool = False) -> dict[str, Any]:
    """Read the body as an object, according to its `Content-Type`, which must be one of `media_types` and UTF-8.

    If it is `optional`, an empty body of any type is an empty object. Raises `wire.MalformedBodyError` with status 400,
    408, 413, 415 or 422.
    """
    body = await read_body(request) if optional else None
    if body == b"":
        return {}
    if len(request.headers.getall(hdrs.CONTENT_TYPE, ())) > 1:
        raise wire.MalformedBodyError("Content-Type is given twice")
    if request.content_type not in media_types:
        raise wire.MalformedBodyError("the content type is not supported", 415)
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise wire.MalformedBodyError("the charset is not supported", 415)
    return wire.READERS[request.content_type](await read_body(request) if body is None else body)


def problem(
    status: int, title: str, *, accept: str = "", headers: Mapping[str, str] | None = None, **members: Any
) -> web.Response:
    """An RFC 9457 problem document, in MessagePack if `accept` asks for it."""
    body = {"type": "about:blank", "title": title, "status": status, **members}
    msgpack_type = wire.accepted_msgpack(accept)
    content_type = msgpack_type or "application/problem+json; charset=utf-8"
    return web.Response(
        status=status,
        body=wire.encode(body, msgpack_type or wire.JSON),
        headers={**NO_STORE, **(headers or {}), hdrs.CONTENT_TYPE: content_type},
    )


def problem_of_http_error(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """aiohttp's own 404, 405 and so on as a problem document, keeping `Allow` and the challenge."""
    kept = (hdrs.ALLOW, hdrs.WWW_AUTHENTICATE)
    headers = {str(name): error.headers[name] for name in kept if name in error.headers}
    return problem(error.status, error.reason, accept=request.headers.get(hdrs.ACCEPT, ""), headers=headers)


def frame(
    http_error: Callable[[web.Request, web.HTTPException], web.StreamResponse] = problem_of_http_error,
) -> Any:
    """The outermost middleware: request id, access log, and an answer to every exception of a handler.

    `http_error` renders aiohttp's own errors (404, 405) in the service's form.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        identifier = request_ids.request_id(request.headers)
        accept = request.headers.get(hdrs.ACCEPT, "")
        with bound_contextvars(request_id=identifier), callers.serving(request):
            try:
                response = await _in_time(request, handler)
            except web.HTTPException as error:
                response = http_error(request, error)
            except wire.MalformedBodyError as error:
                response = problem(error.status, str(error), accept=accept)
            except callers.CallerGoneError:
                response = problem(CLIENT_CLOSED_REQUEST, "Client Closed Request")
            except ServiceUnavailableError as error:
                if error.logged:
                    log.warning("unavailable", exc_info=True)
                headers = {"Retry-After": str(error.retry_after), **error.headers}
                response = problem(503, "Service Unavailable", accept=accept, headers=headers)
            except Exception:
                log.exception("unexpected error")
                response = problem(503, "Service Unavailable", accept=accept, headers=RETRY_AFTER)
            except asyncio.CancelledError:
                _log_access(request, CLIENT_CLOSED_REQUEST, started)
                raise
            if not response.prepared:
                response.headers[request_ids.HEADER] = identifier
            _log_access(request, response.status, started)
        return response

    return middleware


async def _in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, unless this process has stood still since the request arrived.

    After a standstill the request is not begun, and an answer found before it may no longer be true.
    """
    caller = callers.current()
    if caller.left_behind:
        raise LeftBehindError
    try:
        response = await handler(request)
    except Exception:
        if caller.left_behind:
            raise LeftBehindError from None
        raise
    if caller.left_behind and not response.prepared:
        raise LeftBehindError
    return response


def _log_access(request: web.Request, status: int, started: float) -> None:
    """Log one line per request, with the route's pattern instead of the path: a path or query may carry a secret."""
    resource = request.match_info.route.resource
    log.info(
        "request",
        method=request.method if request.method in hdrs.METH_ALL else "-",
        route=request.get(ROUTE) or (resource.canonical if resource is not None else "-"),
        status=status,
        duration_ms=round((time.perf_counter() - started) * 1000, 2),
    )


def health_routes(faults: Faults, warnings: Callable[[], Sequence[str]] = tuple) -> list[web.RouteDef]:
    """`/healthz` (the process answers) and `/readyz` (it can serve), which gives the reasons if it cannot.

    `warnings` are the reasons why an operator should look at a service that can still serve.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        found, warned = await faults(), warnings()
        if found:
            body = {"status": "unavailable", "reasons": [*found, *warned]}
            return web.json_response(body, status=503, headers=RETRY_AFTER)
        return web.json_response({"status": "degraded", "reasons": [*warned]} if warned else {"status": "ok"})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def stats_route(counters: Callable[[], Mapping[str, int]]) -> web.RouteDef:
    """`/stats`: the counters of this process since it started."""

    async def stats(_request: web.Request) -> web.Response:
        return web.json_response({"counters": counters(), "log_lines_dropped": logs.dropped_lines()})

    return web.get("/stats", stats)
