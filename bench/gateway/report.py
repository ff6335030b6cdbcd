"""The measurements as Markdown tables, with the versions of all programs, and as CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.gateway.contenders import BASELINE, CONTENDERS
from bench.gateway.load import LARGE, ORDINARY
from bench.gateway.measuring import Measurements, Spread

GO, TUNED_GO = "Go ReverseProxy, default pool", "Go ReverseProxy"
GATEWAY = "this gateway"

_NONE = "-"


@dataclass(frozen=True)
class Occasion:
    """The circumstances of the run."""

    command: str
    date: str
    machine: str
    versions: Sequence[str]
    missing: Sequence[str]
    idle_connections: int


def markdown(measurements: Measurements, occasion: Occasion) -> str:
    """The whole report."""
    parts = ["# The cost of a proxied request", _preface(occasion)]
    if measurements.contenders(ORDINARY.name):
        parts += ["## Small requests", _requests(measurements), _goals(measurements)]
    if any(measurements.contenders(kind.name) for kind in LARGE):
        parts += ["## Large bodies", "CPU microseconds per megabyte, and megabytes per second.", _bodies(measurements)]
    if measurements.contenders("idle"):
        text = f"Kilobytes (PSS) per connection, {occasion.idle_connections} held open, each after one response."
        parts += ["## Idle connections", text, _idle(measurements)]
    failures = [f"- {name}, {part}: {reason}" for (part, name), reason in measurements.failures.items()]
    if lines := [f"- {line}" for line in occasion.missing] + failures:
        parts += ["## Not measured", "\n".join(lines)]
    parts += ["## Measured with", "\n".join(f"- {line}" for line in occasion.versions)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(measurements: Measurements) -> str:
    """Every metric of every contender, one per line."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("part", "contender", "metric", "median", "least", "most"))
    for part, contender, metric, spread in measurements.rows():
        values = (f"{value:.3f}" for value in (spread.median, spread.least, spread.most))
        lines.writerow((part, contender, metric, *values))
    return text.getvalue()


def _preface(occasion: Occasion) -> str:
    return (
        f"`{occasion.command}` on {occasion.date}, {occasion.machine}. Medians over the rounds, with minimum and "
        "maximum in brackets. Each proxy had a core to itself; wrk and the backend shared the other. The same backend "
        "answered the requests and verified the tokens. Connections were persistent on both sides, request ids were "
        "on, access logs off. CPU is user and system time of all the proxy's processes. The share of the proxy's core "
        "that others used shows how quiet the machine was."
    )


def _requests(measurements: Measurements) -> str:
    part = ORDINARY.name
    baseline = measurements.spread(part, BASELINE, "cpu")
    verifies = {contender.name: contender.verifies for contender in CONTENDERS}
    head = (
        "proxy",
        "verifies",
        "CPU µs/request",
        f"÷ {BASELINE}",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "core in use",
        "by others",
    )
    rows = []
    for name in by_cost(measurements):
        cells: Callable[[str, int], str] = lambda metric, digits, name=name: _cell(  # noqa: E731
            measurements.spread(part, name, metric), digits
        )
        cpu = measurements.spread(part, name, "cpu")
        ratio = f"{cpu.median / baseline.median:.2f}" if cpu and baseline else _NONE
        uses = (_percent(measurements.spread(part, name, metric)) for metric in ("busy", "others"))
        numbers = (cells("cpu", 1), ratio, cells("rate", 0), cells("p50", 2), cells("p99", 2), *uses)
        rows.append((name, verifies[name], *numbers))
    return _lines(head, rows)


def by_cost(measurements: Measurements) -> list[str]:
    """The contenders for small requests, cheapest first."""
    costs = {
        name: spread.median
        for name in measurements.contenders(ORDINARY.name)
        if (spread := measurements.spread(ORDINARY.name, name, "cpu"))
    }
    return sorted(costs, key=lambda name: costs[name])


def _goals(measurements: Measurements) -> str:
    """The cost of this gateway compared with its goals."""
    own = measurements.spread(ORDINARY.name, GATEWAY, "cpu")
    lines = []
    for other, goal in ((BASELINE, 1.0), (GO, 0.5), (TUNED_GO, 0.5)):
        cost = measurements.spread(ORDINARY.name, other, "cpu")
        if own and cost:
            ratio = own.median / cost.median
            reached = "reached" if ratio <= goal else "not reached"
            lines.append(f"- {GATEWAY} ÷ {other}: {ratio:.2f}; goal {goal:.1f}, {reached}")
    return "\n".join(lines)


def _bodies(measurements: Measurements) -> str:
    names = list(dict.fromkeys(name for kind in LARGE for name in measurements.contenders(kind.name)))
    head = ("proxy", *(f"{kind.name}, {unit}" for kind in LARGE for unit in ("µs/MB", "MB/s")))
    rows = [
        (
            name,
            *(_cell(measurements.spread(kind.name, name, metric), 0) for kind in LARGE for metric in ("cpu", "rate")),
        )
        for name in names
    ]
    return _lines(head, rows)


def _idle(measurements: Measurements) -> str:
    rows = [(name, _cell(measurements.spread("idle", name, "memory"), 2)) for name in measurements.contenders("idle")]
    return _lines(("proxy", "KB/connection"), rows)


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return _NONE
    if spread.least == spread.most:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} [{spread.least:.{digits}f} to {spread.most:.{digits}f}]"


def _percent(spread: Spread | None) -> str:
    return f"{spread.median:.0%}" if spread else _NONE


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---"] + ["---:" if row else "---" for row in head[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, align, *rows))
