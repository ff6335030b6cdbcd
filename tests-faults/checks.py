"""Promises that hold in every fault, checked against the ledger of requests and the history of writes."""

import math
from collections import Counter
from dataclasses import dataclass

from clients import LATE
from fault import Fault
from history import Effect
from ledger import Attempt, Ledger

EARLY = 0.05
# Allowance in seconds for a machine that is busy with the test itself.
SLACK = 0.3
SHOWN = 6
ACKNOWLEDGED_ONCE = {"sign-up": 200, "name change": 200, "password change": 204}


@dataclass(frozen=True)
class Outcome:
    """The result of one fault: requests, failures by kind, the longest wait, and when the last failed request was sent.

    `over` is in seconds from the fault's end, or from its start if the stack recovers on its own.
    """

    requests: int
    failures: dict[str, int]
    longest: float
    over: float


def outcome(ledger: Ledger, fault: Fault, ended_at: float) -> Outcome:
    during = [attempt for attempt in ledger.attempts if attempt.end >= ledger.fault_at]
    failed = [attempt for attempt in during if attempt.failed]
    counted_from = ledger.fault_at if fault.of_itself else ended_at
    return Outcome(
        requests=len(during),
        failures=dict(Counter(str(attempt.outcome) for attempt in failed)),
        longest=round(max((attempt.seconds for attempt in during), default=0.0), 2),
        over=round(max([0.0, *(attempt.start - counted_from for attempt in failed)]), 2),
    )


def check(ledger: Ledger, fault: Fault, ended_at: float, effects: list[Effect]) -> None:
    """Note every broken promise in the ledger."""
    _failures_are_allowed(ledger, fault)
    _fault_is_over(ledger, fault, ended_at)
    _nobody_waits_long(ledger, fault)
    _executed_in_time(ledger, effects)


def _failures_are_allowed(ledger: Ledger, fault: Fault) -> None:
    failed = [attempt for attempt in ledger.attempts if attempt.failed]
    before = [attempt for attempt in failed if attempt.end < ledger.fault_at]
    _each(ledger, "a request fails before the fault", before)
    strange = [one for one in failed if one.end >= ledger.fault_at and one.outcome not in fault.sees]
    _each(ledger, f"clients see something other than {fault.sees or 'nothing'}", strange)
    spared = [one for one in failed if one.operation in fault.spares]
    _each(ledger, f"a fault that spares {', '.join(fault.spares)} does not", spared)


def _fault_is_over(ledger: Ledger, fault: Fault, ended_at: float) -> None:
    anchor, word = (ledger.fault_at, "began") if fault.of_itself else (ended_at, "ended")
    late = [one for one in ledger.attempts if one.failed and one.start > anchor + fault.over]
    _each(ledger, f"requests fail that were sent more than {fault.over:g} s after the fault {word}", late)


def _nobody_waits_long(ledger: Ledger, fault: Fault) -> None:
    long = [attempt for attempt in ledger.attempts if attempt.seconds > fault.longest + SLACK]
    _each(ledger, f"requests wait longer than {fault.longest:g} s", long)


def _each(ledger: Ledger, promise: str, attempts: list[Attempt]) -> None:
    if attempts:
        more = f" ({len(attempts)} in all)" if len(attempts) > SHOWN else ""
        ledger.broken(promise + more, *attempts[:SHOWN])


def _executed_in_time(ledger: Ledger, effects: list[Effect]) -> None:
    """Each write belongs to one request whose caller was still waiting, and each acknowledged request was written."""
    by_subject: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in ledger.attempts:
        if attempt.outcome != "refused":  # then nothing was sent
            by_subject.setdefault((attempt.operation, str(attempt.subject)), []).append(attempt)
    for attempts in by_subject.values():
        attempts.sort(key=lambda attempt: attempt.end or math.inf)
    done: set[int] = set()
    for effect in effects:
        attempts = by_subject.get((effect.operation, effect.subject), [])
        if effect.operation == "name change":
            attempts = [attempt for attempt in attempts if attempt.argument == effect.argument]
        waited = [one for one in attempts if one.start - EARLY <= effect.at <= (one.end or effect.at) + LATE]
        first = next((one for one in waited if one.number not in done), None)
        if first is not None:
            done.add(first.number)
        elif waited:
            last = attempts.index(waited[-1])
            ledger.broken(f"{effect.operation} is executed twice, or late", *attempts[max(0, last - 2) : last + 1])
        else:
            _not_waited_for(ledger, effect, attempts)
    acknowledged = [one for one in ledger.attempts if ACKNOWLEDGED_ONCE.get(one.operation) == one.outcome]
    lost = [attempt for attempt in acknowledged if not any(_may_be(effect, attempt) for effect in effects)]
    _each(ledger, "an acknowledged request was never written", lost)


def _may_be(effect: Effect, attempt: Attempt) -> bool:
    """True if the write is what this attempt, or an earlier one for the same, asked for."""
    same = effect.operation == attempt.operation and effect.subject == str(attempt.subject)
    return same and effect.argument in ("", attempt.argument) and effect.at <= attempt.end + LATE


def _not_waited_for(ledger: Ledger, effect: Effect, attempts: list[Attempt]) -> None:
    at = effect.at - ledger.fault_at
    earlier = [attempt for attempt in attempts if attempt.end and attempt.end < effect.at]
    if not earlier:
        ledger.broken(f"{effect.operation} of {effect.subject} is executed at {at:.3f} s and nobody asked for it")
        return
    late = effect.at - max(attempt.end for attempt in earlier)
    ledger.broken(
        f"{effect.operation} of {effect.subject} is executed at {at:.3f} s, {late:.2f} s after its caller had given up",
        *earlier[-3:],
    )
