"""Whether two kinds of request can be told apart by the time they take: shuffled pairs, one connection, ranks."""

import bisect
import gc
import http.client
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

from exchange import FORM

WARM_UP = 30
# How far from 0.5 the chance may be that a random request of one kind takes longer than one of the other.
LEAST_MARGIN = 0.05

Request = Callable[[], None]


class KeptAlive:
    """One connection to the gateway, without the noise of an event loop."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        self._connect()

    def _connect(self) -> None:
        self._connection.connect()
        self._socket = self._connection.sock

    def post(self, path: str, members: Mapping[str, str], status: int) -> None:
        """Send a form, which must be answered with this status."""
        self._connection.request("POST", path, urlencode(members), {"Content-Type": FORM})
        response = self._connection.getresponse()
        response.read()
        assert response.status == status, response.status
        if response.will_close:  # the gateway ends a connection after so many requests
            self._connect()
        assert self._connection.sock is self._socket, "the connection was not kept"

    def close(self) -> None:
        self._connection.close()


def measure(requests: Mapping[str, Request], number: int) -> dict[str, list[float]]:
    """The seconds that each of `number` requests of each kind takes, all kinds shuffled."""
    order = [kind for kind in requests for _ in range(number)]
    random.shuffle(order)
    for kind in order[:WARM_UP]:
        requests[kind]()
    seconds: dict[str, list[float]] = {kind: [] for kind in requests}
    gc.disable()
    try:
        for kind in order:
            started = time.perf_counter()
            requests[kind]()
            seconds[kind].append(time.perf_counter() - started)
    finally:
        gc.enable()
    return seconds


def auc(first: list[float], second: list[float]) -> float:
    """Mann-Whitney's U of two samples over the number of pairs: how often one of `first` exceeds one of `second`."""
    ordered = sorted(second)
    wins = sum(bisect.bisect_left(ordered, value) + bisect.bisect_right(ordered, value) for value in first)
    return wins / 2 / (len(first) * len(second))


def margin(number: int) -> float:
    """Two standard deviations of the AUC of two equal kinds with so many requests each; never below `LEAST_MARGIN`."""
    return max(LEAST_MARGIN, 2 * math.sqrt((2 * number + 1) / 12) / number)


def assert_alike(requests: Mapping[str, Request], control: str, number: int) -> None:
    """No kind can be told from `control`.

    The AUC of two equal kinds leaves the bounds by chance up to once in twenty times, with a sample of twice the size
    once in 200. What looks different is therefore measured once more, with such a sample, and judged by that alone; two
    kinds of which one is answered early are 0 or 1 in either.
    """
    others = [kind for kind in requests if kind != control]
    most = margin(number)
    suspects = _unlike(measure(requests, number), control, others, most)
    if suspects:
        again = {kind: requests[kind] for kind in (control, *suspects)}
        assert _unlike(measure(again, 2 * number), control, suspects, most) == []


def _unlike(seconds: Mapping[str, list[float]], control: str, others: list[str], most: float) -> list[str]:
    areas = {kind: auc(seconds[kind], seconds[control]) for kind in others}
    usual = statistics.median(seconds[control])
    print(f"\n{control}: median {usual * 1000:.2f} ms of {len(seconds[control])}")
    for kind, area in areas.items():
        difference = statistics.median(seconds[kind]) - usual
        print(f"  {kind}: AUC {area:.3f}, median {difference * 1000:+.2f} ms ({difference / usual:+.1%})")
    return [kind for kind, area in areas.items() if abs(area - 0.5) > most]
