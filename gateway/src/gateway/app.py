"""The composition root: pools, verifier, proxies and the two applications, the public one and that for operations."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from gateway import routes
from gateway.pipeline import Pipeline
from gateway.proxy import Proxy, leave_untyped
from gateway.settings import Settings
from gateway.upstreams import pool, url_of
from gateway.verification import Verifier
from servicekit import http

_READY_TIMEOUT = aiohttp.ClientTimeout(total=0.5)
# How a client's connection is treated. One whose request is abandoned takes its upstream request with it, and what is
# still to come of a body that nobody reads is read for a second at the most.
_CONNECTION = {"handler_cancellation": True, "lingering_time": 1.0}


@contextlib.asynccontextmanager
async def applications(settings: Settings) -> AsyncIterator[tuple[web.Application, web.Application]]:
    """The public application and the one for operations; their pools are open as long as the context lasts."""
    forwarding = aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout, sock_read=settings.read_timeout)
    verifying = aiohttp.ClientTimeout(total=settings.verify_timeout, connect=settings.verify_connect_timeout)
    async with (
        pool(settings.upstream_connections, verifying) as verdicts,
        pool(settings.upstream_connections, forwarding) as auth,
        pool(settings.upstream_connections, forwarding) as users,
    ):
        upstreams: dict[routes.Upstream, tuple[aiohttp.ClientSession, str]] = {
            "auth": (auth, settings.auth_url),
            "users": (users, settings.users_url),
        }
        proxies = {
            name: Proxy(
                session,
                origin,
                body_limit=settings.body_limit,
                body_timeout=settings.body_timeout,
                read_timeout=settings.read_timeout,
            )
            for name, (session, origin) in upstreams.items()
        }
        pipeline = Pipeline(Verifier(verdicts, settings.auth_url), proxies, settings.body_limit)
        yield _public(pipeline), _operations(verdicts, settings.auth_url)


def _public(pipeline: Pipeline) -> web.Application:
    @web.middleware
    async def routed_or_not(request: web.Request, handler: http.Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound:  # a target without a path, such as `*`
            return await pipeline.handle(request)

    # One route for everything: what is public is decided on the target as it was sent, not as aiohttp decodes it.
    app = web.Application(middlewares=[http.frame(), routed_or_not], handler_args=_CONNECTION)
    app.router.add_route("*", "/{target:.*}", pipeline.handle, expect_handler=_answer_no_expectation)
    app.on_response_prepare.append(leave_untyped)
    return app


async def _answer_no_expectation(_request: web.Request) -> None:
    """Instead of aiohttp's own, which answers 100 Continue before anybody asked who the client is."""


def _operations(session: aiohttp.ClientSession, auth_url: str) -> web.Application:
    async def ready() -> bool:
        try:
            async with session.get(
                url_of(auth_url, "/readyz"), allow_redirects=False, timeout=_READY_TIMEOUT
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    app = web.Application(middlewares=[http.frame()])
    app.add_routes(http.health_routes(ready))
    return app
