"""The operations port: health, readiness and statistics of the gateway."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Protocol

import structlog
from aiohttp import web

from gateway.settings import Settings
from servicekit import http
from servicekit.serving import Runner
from servicekit.upstreams.calls import CallFailedError, Service, open_service

log = structlog.get_logger()

_READY_TIMEOUT = 1.0


class Serving(Protocol):
    """The processes that serve the public port, one or several."""

    @property
    def ready(self) -> bool:
        """True if every process accepts requests and none has been told to stop."""

    def statuses(self) -> list[dict[str, Any]]:
        """The latest status of each process."""


def application(serving: Serving, auth_service: Service) -> web.Application:
    """`/healthz`, `/readyz` and `/stats`. The gateway is not ready without auth-service, which most requests need."""

    async def faults() -> list[str]:
        found = [] if serving.ready else ["not every worker is serving, or the gateway is stopping"]
        if not await _is_ready(auth_service):
            found.append("auth-service is not ready")
        return found

    async def stats(_request: web.Request) -> web.Response:
        workers = serving.statuses()
        return web.json_response({"workers": workers, "counters": total_counters(workers)})

    app = web.Application(middlewares=[http.frame()])
    app.add_routes([*http.health_routes(faults), web.get("/stats", stats)])
    return app


async def _is_ready(service: Service) -> bool:
    try:
        answer = await service.call("GET", "/readyz", {}, timeout=_READY_TIMEOUT, silence=_READY_TIMEOUT / 2)
    except CallFailedError:
        return False
    return answer.status == 200


def total_counters(workers: list[dict[str, Any]]) -> dict[str, int]:
    """The sum of the counters of all processes."""
    total: Counter[str] = Counter()
    for worker in workers:
        total.update(worker["counters"])
    return dict(total)


@contextlib.asynccontextmanager
async def listening(serving: Serving, settings: Settings) -> AsyncIterator[int]:
    """Serve the operations port for as long as the context lasts, and yield its number.

    Exits with status 1 and one line if the address cannot be listened on.
    """
    async with open_service(settings.auth_url) as auth_service:
        runner = Runner(application(serving, auth_service))
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.ops_host, settings.ops_port).start()
        except OSError as error:
            await runner.cleanup()
            raise SystemExit(cannot_listen(settings.ops_host, settings.ops_port, error)) from None
        try:
            log.info("listening", host=settings.ops_host, port=runner.addresses[0][1])
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()


def cannot_listen(host: str, port: int, error: OSError) -> str:
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
