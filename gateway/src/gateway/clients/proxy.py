"""Everything that the exchanges of one process share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from gateway import routes
from gateway.clients.access_log import AccessLog
from gateway.clients.cors import Cors
from gateway.counters import Counters
from gateway.places import Places
from gateway.verdicts.cache import Verdicts
from servicekit.standstills import Standstills
from servicekit.upstreams.pool import Upstream


@dataclass(frozen=True)
class Proxy:
    """Everything that all exchanges share. A verdict older than `verdict_interval` seconds is asked for again.

    `upstreams` has one for each in the route table, `places` those of the requests to it, for each network. `buffer` is
    the bytes that bodies may take before they are whole, for each network too; `websockets` are counted by subject.
    """

    verdicts: Verdicts
    upstreams: dict[routes.Upstream, Upstream]
    places: dict[routes.Upstream, Places]
    cors: Cors
    access_log: AccessLog
    counters: Counters
    standstills: Standstills
    buffer: Places
    websockets: Places
    websocket_frames: int
    verdict_interval: float
    read_timeout: float
    time: Callable[[], float]

    @functools.cached_property
    def timeout_line(self) -> bytes:
        """Tells an upstream after how long nobody waits for its answer any more: seconds, three decimals at most."""
        seconds = f"{max(self.read_timeout, 0.001):.3f}".rstrip("0").rstrip(".")
        return b"x-parley-timeout: %b\r\n" % seconds.encode()
