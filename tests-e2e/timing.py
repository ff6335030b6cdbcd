"""Tests whether two kinds of request differ in the time they take: shuffled, on one connection, compared by rank."""

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
# The largest accepted distance from 0.5 of the probability that one kind takes longer than the other.
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
        if response.will_close:  # the gateway closes a connection after a number of requests
            self._connect()
        assert self._connection.sock is self._socket, "the connection was not kept"

    def close(self) -> None:
        self._connection.close()


def measure(requests: Mapping[str, Request], number: int) -> dict[str, list[float]]:
    """Seconds for each of `number` requests of each kind, with all kinds shuffled."""
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
    """Two standard deviations of the AUC of two equal kinds with `number` requests each; at least `LEAST_MARGIN`."""
    return max(LEAST_MARGIN, 2 * math.sqrt((2 * number + 1) / 12) / number)


def assert_alike(requests: Mapping[str, Request], control: str, number: int) -> None:
    """Check that no kind can be told from `control`.

    The AUC of two equal kinds exceeds the bounds by chance at most once in twenty times; with a sample of twice the
    size, once in 200 times. A kind that looks different is therefore measured once more, with such a sample, and judged
    by that alone; if one of two kinds is answered early, the AUC is 0 or 1 in both samples.
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
