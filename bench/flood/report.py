"""The table: for each attack, what honest clients got before and during it, and the resources it took."""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.flood.attack import Attack
from bench.flood.figures import LEAST_ANSWERED, MOST_SLOWER, Service
from bench.flood.honest import LOGINS, PATIENCE, READS, REFRESHES, SECONDS

KINDS = ("logins", "refreshes", "reads")
PROCESSES = {
    "gateway": "gateway",
    "auth_service": "auth-service",
    "user_service": "user-service",
    "redis-server": "Redis",
    "postgres": "PostgreSQL",
}
LEGEND = f"""
Honest clients send {LOGINS:.0f} logins, {REFRESHES:.0f} refreshes and {READS:.0f} reads per second, each user from a
different network and each request over a new connection. Their cells show the requests with status 200, the
requests sent, p50 / p99 of the former in ms, and what the others got ("none": no response within
{PATIENCE:.0f} s, or a broken connection): idle → under attack. ✗: fewer than {LEAST_ANSWERED:.0%} of the
successes when idle, or p99 more than {MOST_SLOWER:.0f} times as long. "operations": requests to the operations
port. What the attacker got: the number of each status or outcome, with p50 / p99 in ms. Memory in MB: before →
maximum during the attack. Cores: CPU seconds per second during the attack; "elsewhere" is honest clients and
everything else on this machine, which must be small for the times to mean anything. Rows: before → after;
honest clients add about {LOGINS * SECONDS:.0f} of the sessions and {(LOGINS + REFRESHES) * SECONDS:.0f} of the digests.
"over a day": keys in Redis that are kept for longer than that.
"""


@dataclass(frozen=True)
class Row:
    """The measurements of one attack, which lasted `seconds`; each of `outcomes` has a count, p50 and p99."""

    name: str
    attack: type[Attack]
    idle: dict[str, Service]
    attacked: dict[str, Service]
    outcomes: dict[str, list[Any]]
    seconds: float
    memory: tuple[dict[str, float], dict[str, float]]
    cores: dict[str, float]
    rows: tuple[dict[str, int], dict[str, int]]
    hash_rate: float

    def holds(self, kind: str) -> bool:
        return self.idle[kind].kept_by(self.attacked[kind])

    def cells(self) -> Iterator[str]:
        yield f"`{self.name}`"
        for kind in KINDS:
            yield f"{_served(self.idle[kind])} → {_served(self.attacked[kind])}{'' if self.holds(kind) else ' ✗'}"
        idle, attacked = self.idle["operations"], self.attacked["operations"]
        yield f"{idle.answered}/{idle.asked} → {attacked.answered}/{attacked.asked}"
        yield f"{self.seconds:.0f} s: " + ", ".join(_came_back(what, *of) for what, of in sorted(self.outcomes.items()))
        before, most = self.memory
        yield ", ".join(f"{shown} {before[name]:.0f} → {most[name]:.0f}" for name, shown in _those_in(before))
        cores = [f"{shown} {self.cores[name]:.2f}" for name, shown in _those_in(self.cores)]
        yield ", ".join([*cores, *(f"{name} {self.cores[name]:.2f}" for name in ("attacker", "elsewhere"))])
        yield ", ".join(f"{what} {number} → {self.rows[1][what]}" for what, number in self.rows[0].items())


def head() -> str:
    """The first two lines of the table."""
    names = ("attack", *KINDS, "operations", "what the attacker got", "memory", "cores", "rows")
    return _line(names) + "\n" + _line(["---"] * len(names))


def line(row: Row) -> str:
    return _line(row.cells())


def notes(rows: list[Row]) -> str:
    """The table's legend, and the number of attacks that harm nobody."""
    harmless = sum(all(map(row.holds, KINDS)) for row in rows)
    floods = [_of_bare_hashes(row) for row in rows if row.hash_rate]
    attacks = [f"- `{row.name}`: {_sentence(row.attack)}" for row in rows]
    return "\n".join([f"All goals are met under {harmless} of {len(rows)} attacks.", *floods, LEGEND, *attacks])


def _of_bare_hashes(row: Row) -> str:
    """The share of this machine's hashes that became logins."""
    completed = row.outcomes.get("200", [0])[0] + row.attacked["logins"].answered
    rate = completed / row.seconds
    return (
        f"`{row.name}`: {rate:.1f} logins per second completed, against {row.hash_rate:.1f} of bare argon2id: "
        f"{rate / row.hash_rate:.2f} (goal 0.9)."
    )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _sentence(attack: type[Attack]) -> str:
    return " ".join(textwrap.dedent(attack.__doc__ or "").split())


def _those_in(figures: dict[str, float]) -> list[tuple[str, str]]:
    return [(name, shown) for name, shown in PROCESSES.items() if name in figures]


def _served(service: Service) -> str:
    times = f", {service.p50:.0f} / {service.p99:.0f}" if service.answered else ""
    others = ", ".join(f"{count}x {status or 'none'}" for status, count in sorted(service.others.items()))
    return f"{service.answered}/{service.asked}{times}{f' ({others})' if others else ''}"


def _came_back(what: str, count: int, p50: float, p99: float) -> str:
    return f"{count}x {what}" + (f" ({p50:.0f} / {p99:.0f})" if p99 else "")
