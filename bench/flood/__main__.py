"""`python -m bench.flood [--only NAME,…]`: runs each attack on its own stack and prints a Markdown table."""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from bench.flood import honest, networks, report
from bench.flood.attack import Aim
from bench.flood.attacker import ATTACKS
from bench.flood.figures import LEAST_ANSWERED, Service, services
from bench.flood.report import Row
from bench.flood.running import world
from bench.flood.world import World
from bench.tokens import argon2id_rate

HASHING_SECONDS = 4.0
LOOK_EVERY = 0.5


class Attacker:
    """An attack in its own process; `result` is its final output."""

    def __init__(self, name: str, aim: Aim) -> None:
        self._name = name
        self._aim = aim
        self.result: dict[str, Any] = {}

    @contextlib.asynccontextmanager
    async def attacking(self) -> AsyncIterator[None]:
        pipe = asyncio.subprocess.PIPE
        arguments = [sys.executable, "-m", "bench.flood.attacker", self._name]
        process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(self._aim)).encode() + b"\n")
            await process.stdout.readline()
            yield
            process.stdin.close()
            self.result = json.loads(await process.stdout.read())
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()


class Measurement:
    """One attack on its own world."""

    def __init__(self, name: str, at: World) -> None:
        self._name = name
        self._attack = ATTACKS[name]
        self._world = at
        self._most: dict[str, float] = {}

    async def make(self) -> Row:
        at = self._world
        await at.sign_up()
        at.plan.sessions = await honest.HonestClients(at.plan).begin()
        hash_rate = await self._hash_rate()
        attacker = Attacker(self._name, await at.aim(hash_rate))
        idle = services(await honest.live(at.plan))
        _check_idle(idle)
        at.plan.first_login = int(honest.LOGINS * honest.SECONDS)
        memory, rows = at.memory(), await at.rows()
        watching = asyncio.create_task(self._watch())
        spent, busy, started = at.cpu(), at.cpu_of_machine(), time.perf_counter()
        async with attacker.attacking():
            await asyncio.sleep(self._attack.lead)
            attacked = services(await honest.live(at.plan))
            seconds = time.perf_counter() - started
            cores = {name: (now - spent[name]) / seconds for name, now in at.cpu().items()}
            machine = (at.cpu_of_machine() - busy) / seconds
        watching.cancel()
        cores["attacker"] = attacker.result["cpu"] / seconds
        cores["elsewhere"] = machine - sum(cores.values())
        return Row(
            name=self._name,
            attack=self._attack,
            idle=idle,
            attacked=attacked,
            outcomes=attacker.result["outcomes"],
            seconds=seconds,
            memory=(memory, self._most),
            cores=cores,
            rows=(rows, await at.rows()),
            hash_rate=(hash_rate + await self._hash_rate()) / 2,
        )

    async def _hash_rate(self) -> float:
        return await asyncio.to_thread(argon2id_rate, HASHING_SECONDS) if self._attack.by_hash_rate else 0.0

    async def _watch(self) -> None:
        while True:
            for name, megabytes in self._world.memory().items():
                self._most[name] = max(self._most.get(name, 0.0), megabytes)
            await asyncio.sleep(LOOK_EVERY)


def _check_idle(idle: dict[str, Service]) -> None:
    """Check that everything works without an attack: otherwise there is nothing to compare with."""
    for kind, service in idle.items():
        if service.answered < LEAST_ANSWERED * service.asked:
            raise SystemExit(f"only {service.answered} of {service.asked} {kind} succeed without any attack")


def measure(name: str) -> Row:
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as directory,
        world(ATTACKS[name], Path(directory), honest.SECONDS) as at,
    ):
        return uvloop.run(Measurement(name, at).make())


def _chosen() -> list[str]:
    """The attacks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood")
    parser.add_argument("--only", default="", help=f"comma-separated names of attacks: {', '.join(ATTACKS)}")
    names = [name for name in parser.parse_args().only.split(",") if name]
    if unknown := set(names) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    return names or list(ATTACKS)


def main() -> None:
    chosen = _chosen()
    if not networks.leave_the_machines_network():
        without = [name for name in chosen if ATTACKS[name].ipv6]
        chosen = [name for name in chosen if name not in without]
        if without:
            print(f"skipped, because only root can add IPv6 addresses: {', '.join(without)}")
    print(report.head(), flush=True)
    rows = []
    for name in chosen:
        rows.append(measure(name))
        print(report.line(rows[-1]), flush=True)
    print(f"\n{report.notes(rows)}")


if __name__ == "__main__":
    main()
