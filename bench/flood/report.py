"""The table: for each attack, what honest clients got before it and during it, and what the attack took."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.flood.attack import Attack
from bench.flood.figures import LEAST_ANSWERED, MOST_SLOWER, Service
from bench.flood.honest import LOGINS, READS, REFRESHES

KINDS = ("logins", "refreshes", "reads")
PROCESSES = {
    "gateway": "gateway",
    "auth_service": "auth-service",
    "user_service": "user-service",
    "redis-server": "Redis",
    "postgres": "PostgreSQL",
}
LEGEND = f"""
Honest clients send {LOGINS:.0f} logins, {REFRESHES:.0f} refreshes and {READS:.0f} reads a second, each user from a
network of their own and each request over a new connection. Their cells have the requests that were answered 200, those
that were sent, and p50 / p99 in ms of those answered: idle → under attack. ✗: fewer than {LEAST_ANSWERED:.0%} of what is
answered when idle, or p99 more than {MOST_SLOWER:.0f} times as long. "operations": requests to the port for operations.
What the attacker got: the number of each status or outcome, with p50 / p99 in ms. Memory in MB: before → the most during
the attack. Cores: CPU seconds a second. Rows: before → after; honest clients add about {LOGINS * 10:.0f} sessions and
{(LOGINS + REFRESHES) * 10:.0f} digests of these. "over a day": the keys in Redis that are kept for longer than that.
"""


@dataclass(frozen=True)
class Row:
    """What was measured of one attack, which lasted `seconds`; `outcomes` have a count, p50 and p99 each."""

    name: str
    attack: type[Attack]
    idle: dict[str, Service]
    attacked: dict[str, Service]
    outcomes: dict[str, list[Any]]
    seconds: float
    memory: tuple[dict[str, float], dict[str, float]]
    cores: dict[str, float]
    rows: tuple[dict[str, int], dict[str, int]]

    def holds(self, kind: str) -> bool:
        return self.idle[kind].kept_by(self.attacked[kind])

    def cells(self) -> Iterator[str]:
        yield f"`{self.name}` ({self.attack.item})"
        for kind in KINDS:
            yield f"{_served(self.idle[kind])} → {_served(self.attacked[kind])}{'' if self.holds(kind) else ' ✗'}"
        idle, attacked = self.idle["operations"], self.attacked["operations"]
        yield f"{idle.answered}/{idle.asked} → {attacked.answered}/{attacked.asked}"
        yield f"{self.seconds:.0f} s: " + ", ".join(_came_back(what, *of) for what, of in sorted(self.outcomes.items()))
        before, most = self.memory
        yield ", ".join(f"{shown} {before[name]:.0f} → {most[name]:.0f}" for name, shown in _those_in(before))
        cores = [f"{shown} {self.cores[name]:.2f}" for name, shown in _those_in(self.cores)]
        yield ", ".join([*cores, f"attacker {self.cores['attacker']:.2f}"])
        yield ", ".join(f"{what} {number} → {self.rows[1][what]}" for what, number in self.rows[0].items())


def markdown(rows: list[Row], hash_rate: float) -> str:
    """The table and what is needed to read it."""
    head = ("attack (item)", *KINDS, "operations", "what the attacker got", "memory", "cores", "rows")
    lines = [head, ["---"] * len(head), *(row.cells() for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    attacks = "\n".join(f"- `{row.name}`: {_sentence(row.attack)}" for row in rows)
    goals = f"All goals are met by {sum(all(map(row.holds, KINDS)) for row in rows)} of {len(rows)} attacks' rows."
    return f"{table}\n\n{goals}\n{_about_login_flood(rows, hash_rate)}{LEGEND}\n{attacks}\n"


def _about_login_flood(rows: list[Row], hash_rate: float) -> str:
    """How much of what this machine can hash became logins: `hash_rate` is that of bare argon2id, in a second."""
    for row in rows:
        if row.name == "login-flood":
            rate = row.outcomes.get("200", [0])[0] / row.seconds + row.attacked["logins"].answered / row.seconds
            return (
                f"`login-flood`: {rate:.1f} logins a second completed against {hash_rate:.1f} of bare argon2id: "
                f"{rate / hash_rate:.2f} (goal 0.9).\n"
            )
    return ""


def _sentence(attack: type[Attack]) -> str:
    return " ".join(textwrap.dedent(attack.__doc__ or "").split())


def _those_in(figures: dict[str, float]) -> list[tuple[str, str]]:
    return [(name, shown) for name, shown in PROCESSES.items() if name in figures]


def _served(service: Service) -> str:
    times = f", {service.p50:.0f} / {service.p99:.0f}" if service.answered else ""
    return f"{service.answered}/{service.asked}{times}"


def _came_back(what: str, count: int, p50: float, p99: float) -> str:
    return f"{count}x {what}" + (f" ({p50:.0f} / {p99:.0f})" if p99 else "")
