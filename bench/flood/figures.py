"""The arithmetic of the report: quantiles, and whether honest clients were served as without an attack."""

from collections import Counter
from dataclasses import dataclass

from bench.flood.honest import Outcomes

LEAST_ANSWERED = 0.95  # share of the successes without an attack
MOST_SLOWER = 2.0  # times the 99 % quantile without an attack


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed; NaN if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


@dataclass(frozen=True)
class Service:
    """The service that one kind of honest request got; times in milliseconds, of responses with status 200.

    `others` counts all other requests by status.
    """

    asked: int
    answered: int
    p50: float
    p99: float
    others: dict[int, int]

    def kept_by(self, attacked: "Service") -> bool:
        """True if nearly as large a share succeeds under attack, in at most twice the time."""
        enough = attacked.answered * self.asked >= LEAST_ANSWERED * self.answered * attacked.asked
        return enough and attacked.p99 <= MOST_SLOWER * self.p99


def services(outcomes: Outcomes) -> dict[str, Service]:
    """By kind of request."""
    return {kind: _service(of_kind) for kind, of_kind in outcomes.items()}


def _service(outcomes: list[tuple[int, float]]) -> Service:
    times = [milliseconds for status, milliseconds in outcomes if status == 200]
    others = Counter(status for status, _ in outcomes if status != 200)
    return Service(len(outcomes), len(times), quantile(times, 0.5), quantile(times, 0.99), others)
