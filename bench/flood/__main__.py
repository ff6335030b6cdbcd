"""`python -m bench.flood [--only NAME,…]`: makes each attack on a stack of its own, and prints a table in Markdown."""

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

from bench.flood import honest, networks
from bench.flood.attack import Aim, Attack
from bench.flood.attacker import ATTACKS
from bench.flood.figures import services
from bench.flood.report import Row, markdown
from bench.flood.running import world
from bench.flood.world import World
from bench.tokens import argon2id_rate

SECONDS = 10.0
HASHING_SECONDS = 4.0
LOOK_EVERY = 0.5


class Attacker:
    """An attack in a process of its own; `result` is what it wrote in the end."""

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
    """One attack on a world of its own."""

    def __init__(self, name: str, attack: type[Attack], at: World, hash_rate: float) -> None:
        self._name = name
        self._attack = attack
        self._world = at
        self._hash_rate = hash_rate
        self._most: dict[str, float] = {}

    async def make(self) -> Row:
        at = self._world
        await at.sign_up()
        at.plan.sessions = await honest.HonestClients(at.plan).begin()
        attacker = Attacker(self._name, await at.aim(self._hash_rate))
        idle = services(await honest.live(at.plan))
        at.plan.first_login = int(honest.LOGINS * SECONDS)
        memory, rows = at.memory(), await at.rows()
        watching = asyncio.create_task(self._watch())
        spent, started = at.cpu(), time.perf_counter()
        async with attacker.attacking():
            await asyncio.sleep(self._attack.lead)
            attacked = services(await honest.live(at.plan))
            seconds = time.perf_counter() - started
            cores = {name: (now - spent[name]) / seconds for name, now in at.cpu().items()}
        watching.cancel()
        return Row(
            name=self._name,
            attack=self._attack,
            idle=idle,
            attacked=attacked,
            outcomes=attacker.result["outcomes"],
            seconds=seconds,
            memory=(memory, self._most),
            cores={**cores, "attacker": attacker.result["cpu"] / seconds},
            rows=(rows, await at.rows()),
        )

    async def _watch(self) -> None:
        while True:
            for name, megabytes in self._world.memory().items():
                self._most[name] = max(self._most.get(name, 0.0), megabytes)
            await asyncio.sleep(LOOK_EVERY)


def measure(name: str, hash_rate: float) -> Row:
    attack = ATTACKS[name]
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as directory,
        world(attack, Path(directory), SECONDS) as at,
    ):
        return uvloop.run(Measurement(name, attack, at, hash_rate).make())


def _chosen() -> list[str]:
    """The attacks that were asked for, which are all where none is named."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood")
    parser.add_argument("--only", default="", help=f"names with commas between them, of: {', '.join(ATTACKS)}")
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
            print(f"left out, since only root can give this machine IPv6 addresses: {', '.join(without)}")
    hash_rate = argon2id_rate(HASHING_SECONDS)
    rows = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows.append(measure(name, hash_rate))
    print(markdown(rows, hash_rate))


if __name__ == "__main__":
    main()
