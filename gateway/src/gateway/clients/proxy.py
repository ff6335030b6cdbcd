"""The objects and settings that the exchanges of one process share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from gateway import routes
from gateway.admission import GuardedQuota
from gateway.clients.access_log import AccessLog
from gateway.clients.cors import Cors
from gateway.counters import Counters
from gateway.verdicts.cache import Verdicts
from servicekit.standstills import Standstills
from servicekit.upstreams.pool import Upstream


@dataclass(frozen=True)
class Proxy:
    """Shared by all exchanges. A verdict that is older than `verdict_interval` seconds is asked for again.

    `upstreams` has each upstream of the route table, `requests` the quota of requests in flight to each. `buffer` is
    the quota of bytes in bodies that are not whole yet. Networks share these two; `websockets` is shared by subjects.
    """

    verdicts: Verdicts
    upstreams: dict[routes.UpstreamName, Upstream]
    requests: dict[routes.UpstreamName, GuardedQuota]
    cors: Cors
    access_log: AccessLog
    counters: Counters
    standstills: Standstills
    buffer: GuardedQuota
    websockets: GuardedQuota
    websocket_frames: int
    verdict_interval: float
    read_timeout: float
    time: Callable[[], float]

    @functools.cached_property
    def timeout_line(self) -> bytes:
        """Tells an upstream how many seconds its answer is waited for, with three decimals at most."""
        seconds = f"{max(self.read_timeout, 0.001):.3f}".rstrip("0").rstrip(".")
        return b"x-parley-timeout: %b\r\n" % seconds.encode()
