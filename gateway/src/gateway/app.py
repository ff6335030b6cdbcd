"""The data path of one process, from the listening socket to the upstreams: all its parts are put together here."""

import asyncio
import contextlib
from typing import Any

import structlog

from gateway import routes
from gateway.admission import BODIES, QUESTIONS, REQUESTS, WEBSOCKETS, GuardedQuota, Refusals
from gateway.clients.access_log import AccessLog
from gateway.clients.cors import Cors, parse_origins
from gateway.clients.descriptors import Descriptors
from gateway.clients.exchange import Exchange
from gateway.clients.intake import Intake
from gateway.clients.listener import Listener
from gateway.clients.port import Limits, Port
from gateway.clients.proxy import Proxy
from gateway.counters import Counters
from gateway.messages.client_address import parse_proxies
from gateway.messages.request import Request
from gateway.public_port import HeldPort, OwnPort
from gateway.settings import Settings
from gateway.tls import Certificate
from gateway.verdicts.cache import Verdicts
from servicekit import logs
from servicekit.deadlines import Deadlines
from servicekit.standstills import Standstills
from servicekit.upstreams.pool import Upstream
from servicekit.upstreams.resolver import Resolve, ask_system

log = structlog.get_logger()

_OTHER_DESCRIPTORS = 64
# If verdicts are not cached, the token of an open WebSocket, or of a request that had to wait for its body, is verified
# again once its verdict is older than this, in seconds.
_VERDICT_INTERVAL = 1.0


class DataPath:
    """Serves the public port in this process. Other processes may serve the same port."""

    def __init__(self, settings: Settings, *, reuse_port: bool = False, resolve: Resolve = ask_system) -> None:
        self._settings = settings
        self._public_port = (
            OwnPort(settings.host, settings.port, reuse_port=reuse_port)
            if settings.listener is None
            else HeldPort(settings.listener)
        )
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines()
        self._standstills = Standstills()
        self._counters = Counters()
        self._certificate = (
            Certificate(settings.tls_certificate, settings.tls_key)
            if settings.tls_certificate is not None and settings.tls_key is not None
            else None
        )
        self._access_log = AccessLog(settings.access_log)
        self._upstreams: dict[str, Upstream] = {
            name: Upstream(
                origin,
                connections=settings.upstream_connections,
                connect_timeout=connect_timeout,
                dns_interval=settings.dns_interval,
                stall_timeout=settings.stall_timeout,
                deadlines=self._deadlines,
                resolve=resolve,
            )
            for name, origin, connect_timeout in (
                ("verification", settings.auth_url, settings.verify_connect_timeout),
                ("auth", settings.auth_url, settings.connect_timeout),
                ("users", settings.users_url, settings.connect_timeout),
            )
        }
        self._proxy = self._make_proxy()
        proxies = parse_proxies(settings.trusted_proxies or "")
        # Each upstream has a pool of connections; the operations port and files need a few more.
        upstream_connections = len(self._upstreams) * settings.upstream_connections
        self._descriptors = Descriptors(upstream_connections + settings.websockets + _OTHER_DESCRIPTORS)
        self._port = Port(
            _limits(settings),
            proxies,
            self._deadlines,
            self._standstills,
            self._counters,
            self._descriptors,
            self._certificate.context if self._certificate is not None else None,
        )

    async def start(self) -> None:
        """Start serving. Raises OSError if the port cannot be listened on."""
        self._deadlines.start(self._loop)
        self._standstills.start()
        self._deadlines.add(self._access_log)
        self._deadlines.add(self._port)
        self._deadlines.add(self._descriptors)
        for upstream in self._upstreams.values():
            await upstream.start()
        await self._public_port.open(Listener(self._port, self._serve))

    @property
    def port(self) -> int:
        """The number of the public port, which the system chose if the setting is 0."""
        return self._public_port.number

    def reload(self) -> None:
        """Reload the TLS certificate."""
        if self._certificate is not None:
            self._certificate.reload()

    def begin_drain(self) -> None:
        """From now on, close each connection after the next response."""
        self._port.draining = True

    async def drain(self) -> None:
        """Keep serving for `drain_delay`, then stop listening and let the requests in flight finish.

        On a shared port other processes accept new connections, so this one stops accepting at once: it might otherwise
        close a connection that it has just accepted before the first request arrives.
        """
        self.begin_drain()
        if self._public_port.shared:
            self._public_port.close()
        await asyncio.sleep(self._settings.drain_delay)
        self._public_port.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout):
                await self._port.end()

    async def close(self) -> None:
        """Close everything that is still open."""
        self._public_port.close()
        for connection in list(self._port.connections):
            connection.abort()
        for upstream in self._upstreams.values():
            await upstream.close()
        self._deadlines.stop()
        self._standstills.stop()
        self._access_log.flush()

    def status(self) -> dict[str, Any]:
        """The state of this process, as `/stats` shows it."""
        connections = self._port.connections
        return {
            "connections": len(connections),
            "in_flight": sum(not connection.idle for connection in connections),
            "counters": self._counters.as_dict(),
            "log_lines_dropped": logs.dropped_lines(),
            "upstreams": {name: upstream.status() for name, upstream in self._upstreams.items()},
        }

    def _make_proxy(self) -> Proxy:
        settings = self._settings

        def quota(total: int, share: int, refusals: Refusals) -> GuardedQuota:
            return GuardedQuota(total, share, refusals, self._counters)

        per_network = settings.upstream_requests_per_network
        verdicts = Verdicts(
            self._upstreams["verification"],
            self._deadlines,
            self._standstills,
            self._counters,
            quota(settings.upstream_connections, per_network, QUESTIONS),
            lifetime=settings.verdict_lifetime,
            timeout=settings.verify_timeout,
        )
        return Proxy(
            verdicts=verdicts,
            upstreams={name: self._upstreams[name] for name in routes.UPSTREAMS},
            requests={name: quota(settings.upstream_requests, per_network, REQUESTS) for name in routes.UPSTREAMS},
            buffer=quota(settings.buffered_bytes, settings.buffered_bytes_per_network, BODIES),
            websockets=quota(settings.websockets, settings.websockets_per_subject, WEBSOCKETS),
            websocket_frames=settings.websocket_frames,
            cors=Cors(parse_origins(settings.cors_origins or "")),
            access_log=self._access_log,
            counters=self._counters,
            standstills=self._standstills,
            verdict_interval=settings.verdict_lifetime or _VERDICT_INTERVAL,
            read_timeout=settings.read_timeout,
            time=self._loop.time,
        )

    def _serve(self, intake: Intake, request: Request) -> None:
        Exchange(self._proxy, intake, request).start()


def _limits(settings: Settings) -> Limits:
    return Limits(
        first_byte_timeout=settings.first_byte_timeout,
        header_timeout=settings.header_timeout,
        keepalive_timeout=settings.keepalive_timeout,
        body_timeout=settings.body_timeout,
        body_rate=settings.body_rate,
        connections=settings.connections,
        connections_per_address=settings.connections_per_address,
        requests_per_connection=settings.requests_per_connection,
    )
