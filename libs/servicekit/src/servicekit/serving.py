"""An aiohttp server as every service runs it: its own refusals in our words, and a clean stop."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.web_urldispatcher import MatchInfoError

from servicekit import callers, draining, garbage
from servicekit.http import problem
from servicekit.standstills import Standstills

KEEPALIVE_TIMEOUT = 75.0

# Paths with more slashes lead nowhere. aiohttp looks a path up once for each slash and copies the rest of it each time:
# 8,000 slashes took 30 to 50 ms, in which the process did nothing else.
MOST_SLASHES = 100

# An application's longest header in bytes: aiohttp itself answers 400 to a longer one.
HEADER_LIMIT = web.AppKey("header_limit", int)

log = structlog.get_logger()


class _Connection(callers.CallerConnection):
    """aiohttp's connection, but its own 400 neither echoes a header to the client nor logs it, nor waits for a body."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._messages or isinstance(self._messages[-1][0], RawRequestMessage):
            return
        # aiohttp queues a parse error behind the request that it belongs to. Where that is an error in a body, the
        # request would wait for the rest of it until it gives up.
        request = self._current_request
        queued = self._messages[-2][1] if len(self._messages) > 1 else None
        payload = queued or (request.content if request is not None else None)
        if payload is not None and not payload.is_eof():
            payload.set_exception(web.RequestPayloadError())

    def handle_error(
        self,
        _request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        _message: str | None = None,
    ) -> web.StreamResponse:
        log.info("malformed request", status=status, cause=type(exc).__name__)
        title, error = ("Bad Request", "invalid_request") if status < 500 else ("Service Unavailable", "server_error")
        response = problem(status, title, error=error)
        response.headers[hdrs.SERVER] = "parley"  # aiohttp would name its version
        response.headers[hdrs.CONNECTION] = "close"  # aiohttp answers what it cannot read in HTTP/1.0, and so without
        response.force_close()
        return response


class _Server(web.Server):
    standstills: Standstills
    options: dict[str, Any]

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), standstills=self.standstills, **self.options)


class _Router(web.UrlDispatcher):
    async def resolve(self, request: web.Request) -> web.UrlMappingMatchInfo:
        if request.rel_url.raw_path.count("/") > MOST_SLASHES:
            return MatchInfoError(web.HTTPNotFound())
        return await super().resolve(request)


class Runner(web.AppRunner):
    """aiohttp's runner with our connection class, router and limits. There is no public hook for the first two.

    `shutdown_timeout`: seconds that requests in flight have once it is cleaned up.
    """

    def __init__(self, app: web.Application, *, shutdown_timeout: float = 10.0) -> None:
        app.router.__class__ = _Router
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._draining = draining.Draining()
        self.standstills = Standstills()
        app.on_response_prepare.extend((_without_server_header, self._draining.close_after))

    async def setup(self) -> None:
        await super().setup()
        server = cast(_Server, self.server)
        server.__class__ = _Server
        server.standstills = self.standstills
        server.options = {
            "access_log": None,
            "auto_decompress": False,
            "max_field_size": self.app.get(HEADER_LIMIT, 8190),
            "keepalive_timeout": KEEPALIVE_TIMEOUT,
        }
        self.standstills.start()

    async def drain(self) -> None:
        """Take no more connections, and close those in use after their next answer, which says so."""
        await self._draining.drain(self)

    async def cleanup(self) -> None:
        await super().cleanup()
        self.standstills.stop()


async def _without_server_header(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers.pop(hdrs.SERVER, None)


async def serve(*sites: tuple[web.Application, str, int]) -> None:
    """Serve each `(app, host, port)` until SIGINT or SIGTERM, then finish the requests in flight.

    Leaves the process with status 1 and one line when an address cannot be listened on.
    """
    stop = asyncio.Event()
    runners: list[Runner] = []
    try:
        with _on_stop_signal(stop, asyncio.current_task()) as started:
            for app, _, _ in sites:
                runners.append(Runner(app))
                await runners[-1].setup()
            garbage.pass_over_what_is_there()
            for runner, (_, host, port) in zip(runners, sites, strict=True):
                runner.standstills.start()
                await _listen(runner, host, port)
            started.set()
            await stop.wait()
            log.info("stopping")
            await asyncio.gather(*(runner.drain() for runner in runners))
    finally:
        for runner in runners:
            await runner.cleanup()


async def _listen(runner: Runner, host: str, port: int) -> None:
    try:
        await draining.Site(runner, host, port).start()
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    log.info("listening", host=host, port=port)


@contextlib.contextmanager
def _on_stop_signal(stop: asyncio.Event, task: asyncio.Task[None] | None) -> Iterator[asyncio.Event]:
    """Set `stop` at SIGINT or SIGTERM; before the event yielded is set, leave the context at once.

    A service that waits for its database when it starts would not hear of `stop` before the database answers.
    """
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if task is not None and not started.is_set() and not stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        yield started
    except asyncio.CancelledError:
        if task is None or started.is_set() or not stop.is_set():
            raise
        task.uncancel()
