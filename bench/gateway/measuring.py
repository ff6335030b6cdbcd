"""The measurements of each contender, in turn: ordinary requests, large bodies, idle connections."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.gateway.contenders import Contender, Testbed
from bench.gateway.load import LARGE, ORDINARY, FailedLoadError, Idle, Kind, Wrk
from bench.gateway.pinned import NotStartedError, Pinned, core_seconds

MEGABYTE = 1_000_000
SEED = 20250101


@dataclass(frozen=True)
class Spread:
    """The values of several rounds."""

    median: float
    least: float
    most: float


class Measurements:
    """All values by part, contender and metric; `failures` gives the reason for missing ones by part and contender."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = {}
        self.failures: dict[tuple[str, str], str] = {}

    def add(self, part: str, contender: str, **metrics: float) -> None:
        for metric, value in metrics.items():
            self._values.setdefault((part, contender, metric), []).append(value)

    def spread(self, part: str, contender: str, metric: str) -> Spread | None:
        values = self._values.get((part, contender, metric))
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def contenders(self, part: str) -> list[str]:
        """The contenders with values in the part, in the order of arrival."""
        return list(dict.fromkeys(contender for measured, contender, _ in self._values if measured == part))

    def rows(self) -> list[tuple[str, str, str, Spread]]:
        return [
            (*key, Spread(statistics.median(values), min(values), max(values))) for key, values in self._values.items()
        ]


Work = Callable[[Contender, Pinned, int], None]


class Measuring:
    """Starts contenders one at a time and loads them. Times are in seconds."""

    def __init__(self, testbed: Testbed, wrk: Wrk, *, rounds: int, seconds: float) -> None:
        self._testbed = testbed
        self._wrk = wrk
        self._rounds = rounds
        self._seconds = seconds
        self._token = str(testbed.values["token"])
        self.measurements = Measurements()

    def requests(self, contenders: Sequence[Contender]) -> None:
        """CPU and elapsed time of a small request."""
        for number, turn in enumerate(self._turns(contenders)):
            for contender in turn:
                self._with_each(ORDINARY.name, contender, self._ordinary, f"round {number + 1}")

    def bodies(self, contenders: Sequence[Contender]) -> None:
        """CPU and elapsed time of large bodies, down and up."""
        for number, turn in enumerate(self._turns([one for one in contenders if one.bodies])):
            for contender in turn:
                for kind in LARGE:
                    self._with_each(kind.name, contender, self._large(kind), f"{kind.name}, round {number + 1}")

    def idle(self, contenders: Sequence[Contender], connections: int) -> None:
        """Memory of an idle connection."""
        for contender in contenders:
            self._with_each("idle", contender, self._waiting(connections), f"{connections} idle connections")

    def _turns(self, contenders: Sequence[Contender]) -> list[list[Contender]]:
        """An order for each round, so that changes in the machine's speed affect all contenders alike."""
        shuffling = random.Random(SEED)
        return [shuffling.sample(list(contenders), len(contenders)) for _ in range(self._rounds)]

    def _with_each(self, part: str, contender: Contender, work: Work, occasion: str) -> None:
        print(f"{occasion}: {contender.name}", flush=True)
        try:
            with contender.started(self._testbed) as (proxy, port):
                work(contender, proxy, port)
        except (NotStartedError, FailedLoadError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"  failed: {reason}", flush=True)
            self.measurements.failures[part, contender.name] = reason

    def _ordinary(self, contender: Contender, proxy: Pinned, port: int) -> None:
        self._wrk.run(port, ORDINARY, 1)
        core = self._testbed.proxy_core
        before, core_before, started = proxy.cpu_seconds(), core_seconds(core), time.perf_counter()
        outcome = self._wrk.run(port, ORDINARY, self._seconds)
        spent, core_spent, elapsed = (
            proxy.cpu_seconds() - before,
            core_seconds(core) - core_before,
            time.perf_counter() - started,
        )
        self.measurements.add(
            ORDINARY.name,
            contender.name,
            cpu=spent / outcome.requests * 1e6,
            rate=outcome.requests / outcome.seconds,
            p50=outcome.p50,
            p99=outcome.p99,
            busy=spent / elapsed,
            others=max(0.0, core_spent - spent) / elapsed,
        )

    def _large(self, kind: Kind) -> Work:
        def work(contender: Contender, proxy: Pinned, port: int) -> None:
            self._wrk.run(port, kind, 1)
            before = proxy.cpu_seconds()
            outcome = self._wrk.run(port, kind, self._seconds)
            spent = proxy.cpu_seconds() - before
            megabytes = outcome.requests * kind.size / MEGABYTE
            self.measurements.add(
                kind.name, contender.name, cpu=spent / megabytes * 1e6, rate=megabytes / outcome.seconds
            )

        return work

    def _waiting(self, connections: int) -> Work:
        def work(contender: Contender, proxy: Pinned, port: int) -> None:
            self._wrk.run(port, ORDINARY, 1)
            memory, still = asyncio.run(_hold(proxy, Idle(port, self._token), connections))
            if still < connections:
                raise FailedLoadError(f"closed {connections - still} of {connections} connections")
            self.measurements.add("idle", contender.name, memory=memory / connections / 1000)

        return work


async def _hold(proxy: Pinned, idle: Idle, connections: int) -> tuple[int, int]:
    """Memory of the connections in bytes, and the number still open at the end."""
    before = proxy.memory()
    try:
        await idle.open(connections)
        await asyncio.sleep(1)
        return proxy.memory() - before, idle.open_still
    finally:
        await idle.close()
