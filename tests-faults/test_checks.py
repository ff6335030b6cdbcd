"""Each check reports the breakage that it is for, and nothing else."""

import pytest

import checks
from fault import Fault, unprepared
from history import Effect
from ledger import Attempt, Ledger

FAULT = Fault("none", unprepared, 1, ("timeout",), over=0.0, longest=2.0)


def _attempt(operation: str, end: float, outcome: int | str, *, number: int = 1) -> Attempt:
    return Attempt(number, "client", operation, 7, "new", "gateway-1", 101.0, end, outcome)


@pytest.mark.parametrize(
    ("attempt", "written_at", "promise"),
    [
        pytest.param(_attempt("name change", 102.0, 200), [101.5], None, id="as it should be"),
        pytest.param(_attempt("name change", 102.0, 200), [], "acknowledged request was never written", id="lost"),
        pytest.param(_attempt("name change", 102.0, "timeout"), [], None, id="given up and not executed"),
        pytest.param(_attempt("name change", 102.0, "timeout"), [102.2], None, id="executed as it was given up"),
        pytest.param(_attempt("name change", 102.0, "timeout"), [105.0], "3.00 s after its caller", id="executed late"),
        pytest.param(_attempt("login", 102.0, 200), [101.3, 101.4], "executed twice", id="executed twice"),
        pytest.param(_attempt("read", 102.0, 200), [101.3], "nobody asked for it", id="nobody asked"),
        pytest.param(_attempt("read", 102.0, 502), [], "clients see something other", id="a failure that may not be"),
        pytest.param(_attempt("read", 104.0, 200), [], "wait longer than 2 s", id="a long wait"),
    ],
)
def test_what_is_broken_is_noted(attempt: Attempt, written_at: list[float], promise: str | None):
    ledger = Ledger([attempt], fault_at=100.0)
    written = "revocation" if attempt.operation == "read" else attempt.operation
    effects = [Effect(written, "7", "new" if written == "name change" else "", at, None) for at in written_at]
    checks.check(ledger, FAULT, 200.0, effects)
    assert [violation for violation in ledger.violations if promise is None or promise not in violation] == []
    assert bool(ledger.violations) == (promise is not None)


def test_two_successors_are_noted():
    ledger = Ledger()
    for successor, attempt in (("first", 1), ("first", 2)):
        ledger.successor("spent", successor, _attempt("refresh", 102.0, 200, number=attempt))
    assert ledger.violations == []
    ledger.successor("spent", "second", _attempt("refresh", 102.0, 200, number=3))
    assert ledger.violations
