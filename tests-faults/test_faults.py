"""Under a steady load, no fault breaks a promise, and the stack recovers in time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

import checks
import figures
import history
from catalogue import FAULTS
from doors import opened
from fault import Fault
from hops import address, replicas
from ledger import Ledger
from load import Load
from replicas import COUNTS, Stack
from service_logs import severe_lines, utc

SETTLES_WITHIN = 60.0


@pytest.fixture
async def load(stack: Stack, fault: Fault):
    """Clients of a stack that has recovered from the previous fault and is prepared for this one."""
    await stack.recover()
    await stack.lead(fault.ways)
    async with fault.prepared(stack), _load(stack) as load:
        yield load
    if load.ledger.violations:
        await stack.restart(*COUNTS)  # the next fault must not be blamed for what this one has left behind


@contextlib.asynccontextmanager
async def _load(stack: Stack) -> AsyncIterator[Load]:
    authority = stack.authority
    scheme, context = ("http", None) if authority is None else ("https", authority.context())
    gateways = {
        name: (f"{scheme}://{host}:8080", f"http://{address(name)}:8090/readyz")
        for name, host in zip(replicas("gateway"), stack.hops.addresses("client", "gateway"), strict=True)
    }
    async with opened(gateways, Ledger(), context) as doors:
        yield Load(doors)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault(stack: Stack, load: Load, fault: Fault, request: pytest.FixtureRequest):
    ledger, began = load.ledger, time.time()
    async with load.running():
        ledger.fault_at = time.time()
        async with fault.inject(stack):
            await asyncio.sleep(fault.hold)
        ended_at = time.time()
        if not await load.has_turned(2, SETTLES_WITHIN):
            ledger.broken(f"clients make no progress within {SETTLES_WITHIN:g} s of the fault")
        await asyncio.sleep(max(0.0, ended_at + min(fault.over, 3.0) - time.time()))
    await load.audit()
    async with stack.superuser("auth") as auth, stack.superuser("users") as users:
        effects = await history.since(began, auth, users)
    checks.check(ledger, fault, ended_at, effects)
    outcome = checks.outcome(ledger, fault, ended_at)
    request.config.stash[figures.MEASURED].append(f"{fault.name}: {outcome}, event loop {load.latest:.2f} s late")
    if request.config.getoption("--record"):
        figures.record(fault, outcome, holds=not ledger.violations)
        figures.DOCUMENT.write_text(figures.document(FAULTS))
    assert not ledger.violations, _told(ledger, ended_at, severe_lines(stack.data.logs, began))


def _told(ledger: Ledger, ended_at: float, logged: list[str]) -> str:
    head = f"{len(ledger.violations)} promises broken; times are relative to the fault, which began at "
    head += f"{utc(ledger.fault_at)} and ended at {ended_at - ledger.fault_at:.3f} s:"
    return "\n    ".join((head, *ledger.violations[:12], "warnings and errors in the services' logs:", *logged))
