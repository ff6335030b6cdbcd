"""Processes that are killed or stopped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import psutil

from dev.processes import Process
from fault import HELD, NOTHING, UNAVAILABLE, Fault, Inject, with_redis
from hops import replicas
from replicas import Stack, family, kill, resume, suspend

PULSE = 0.15


def processes(stack: Stack, *names: str) -> list[Process]:
    """The processes of the named replicas (`gateway-1`), services (`gateway`), `postgres` or `redis`."""
    found = []
    for name in names:
        if name == "postgres":
            found.append(stack.postgres.process)
        elif name == "redis":
            assert stack.redis is not None
            found.append(stack.redis)
        else:
            found += [replica.process for replica in stack.replicas.values() if name in (replica.name, replica.kind)]
    return found


def stopped(*names: str) -> Inject:
    """Stopped with SIGSTOP, resumed with SIGCONT at the end."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        chosen = processes(stack, *names)
        try:
            for process in chosen:
                suspend(process)
            yield
        finally:
            for process in chosen:
                resume(process)

    return inject


def in_turn(*names: str, seconds: float) -> Inject:
    """One replica after another is stopped with SIGSTOP, each as soon as the previous one resumes."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        for name in names:
            async with stopped(name)(stack):
                await asyncio.sleep(seconds)
        yield

    return inject


def pulsing(*names: str) -> Inject:
    """Stopped and resumed several times a second."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        pulses = asyncio.create_task(_pulse(stack, *names))
        try:
            yield
        finally:
            pulses.cancel()
            await asyncio.gather(pulses, return_exceptions=True)

    return inject


async def _pulse(stack: Stack, *names: str) -> None:
    while True:
        async with stopped(*names)(stack):
            await asyncio.sleep(PULSE)
        await asyncio.sleep(PULSE)


def killed(*names: str) -> Inject:
    """`kill -9`, restarted at the end."""

    @contextlib.asynccontextmanager
    async def inject(stack: Stack) -> AsyncIterator[None]:
        await asyncio.gather(*(kill(process) for process in processes(stack, *names)))
        yield
        if "postgres" in names:
            await stack.postgres.start()
        if "redis" in names and stack.redis is not None:
            await stack.redis.start()
        await stack.start_replicas(
            [name for name in stack.replicas if name in names or name.rpartition("-")[0] in names]
        )

    return inject


def worker(stack: Stack) -> psutil.Process:
    """A worker of the gateway that has several."""
    return family(stack.replicas["gateway-2"].process)[1]


@contextlib.asynccontextmanager
async def stopped_worker(stack: Stack) -> AsyncIterator[None]:
    """One of a gateway's workers is stopped."""
    one = worker(stack)
    one.suspend()
    yield
    with contextlib.suppress(psutil.NoSuchProcess):
        one.resume()


@contextlib.asynccontextmanager
async def killed_worker(stack: Stack) -> AsyncIterator[None]:
    """One of a gateway's workers is killed; the gateway replaces it."""
    worker(stack).kill()
    yield


ONE_OF_SEVERAL = ("auth-service-1", "user-service-1", "gateway-1")
ALL = ("auth-service", "user-service", "gateway")
PAUSES = (1, 3, 10, 34, 90)
TO_NOTICE = 4.0


def _stop_rows() -> list[Fault]:
    rows = [_one_stopped(name, seconds) for name in ONE_OF_SEVERAL for seconds in PAUSES]
    rows += [_all_stopped(name, seconds) for name in (*ALL, "postgres") for seconds in PAUSES]
    rows += [
        Fault(f"redis-stopped-{seconds}s", stopped("redis"), seconds, NOTHING, 0.0, 2.0, prepared=with_redis)
        for seconds in PAUSES
    ]
    return rows


def _one_stopped(name: str, seconds: int) -> Fault:
    """One of several is stopped. Only requests that it held fail; clients of a gateway wait until they give up."""
    waits = seconds + 2.0 if name.startswith("gateway") else 2.0
    return Fault(
        f"{name}-stopped-{seconds}s",
        stopped(name),
        seconds,
        HELD,
        over=TO_NOTICE,
        longest=waits,
        of_itself=True,
    )


def _all_stopped(name: str, seconds: int) -> Fault:
    """No replica can answer: requests wait until the services, the gateway or the clients give up."""
    bound = {"postgres": 10.0, "gateway": 35.0}.get(name, 32.0)
    return Fault(
        f"{name}-stopped-{seconds}s",
        stopped(name),
        seconds,
        UNAVAILABLE,
        over=5.0,
        longest=min(seconds + 2.0, bound),
        spares=("refresh",) if name == "user-service" else (),
    )


def _stopped_in_turn(kind: str) -> Fault:
    """At any time, all other replicas work."""
    inject = in_turn(*replicas(kind), seconds=4)
    return Fault(f"{kind}-stopped-in-turn", inject, 1, HELD, over=0.0, longest=2.0)


def _kill_rows(names: Sequence[str]) -> list[Fault]:
    one = [
        Fault(f"{name}-killed", killed(name), 2, HELD, over=TO_NOTICE, longest=2.0, of_itself=True)
        for name in ONE_OF_SEVERAL
    ]
    every = [Fault(f"{name}-killed", killed(name), 2, UNAVAILABLE, over=5.0, longest=10.0) for name in names]
    return one + every


def _pulse_rows() -> list[Fault]:
    waits: Callable[[str], float] = lambda name: 10.0 if name in (*ALL, "postgres") else 3.0  # noqa: E731
    return [
        Fault(f"{name}-pulsed", pulsing(name), 6, UNAVAILABLE, over=5.0, longest=waits(name))
        for name in (*ONE_OF_SEVERAL, *ALL, "postgres")
    ]


FAULTS = [
    *_stop_rows(),
    *_kill_rows((*ALL, "postgres")),
    Fault("redis-killed", killed("redis"), 3, NOTHING, over=0.0, longest=2.0, prepared=with_redis),
    Fault("redis-pulsed", pulsing("redis"), 6, NOTHING, over=0.0, longest=2.0, prepared=with_redis),
    *_pulse_rows(),
    *(_stopped_in_turn(kind) for kind in ("auth-service", "user-service")),
    Fault("gateway-worker-stopped", stopped_worker, 6, HELD, TO_NOTICE, longest=6.0, of_itself=True),
    Fault("gateway-worker-killed", killed_worker, 2, HELD, over=TO_NOTICE, longest=2.0, of_itself=True),
]
