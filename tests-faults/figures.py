"""The results of faults in `results.json`, and the table in `docs/faults.md` that is generated from them."""

import datetime
import inspect
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from checks import Outcome
from fault import Fault

MEASURED = pytest.StashKey[list[str]]()
RESULTS = Path(__file__).with_name("results.json")
DOCUMENT = Path(__file__).parent.parent / "docs" / "faults.md"
BEGIN, END = "<!-- The table below is written by `make test-faults`. -->\n", "<!-- The end of the table. -->\n"
_HEAD = (
    "| row | fault | for | clients may see | recovers within | maximum wait"
    " | clients saw | recovered after | longest wait | measured |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def read() -> dict[str, Any]:
    """The last result of each row, by its name."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


def record(fault: Fault, outcome: Outcome, *, holds: bool) -> None:
    """Store a result."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    results = {**read(), fault.name: {**asdict(outcome), "holds": holds, "measured": today}}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def document(faults: Iterable[Fault]) -> str:
    """The document with the results of all rows."""
    results = read()
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    rows = "".join(_row(fault, results.get(fault.name)) for fault in faults)
    return f"{before}{BEGIN}\n{_HEAD}{rows}\n{END}{after}"


def _row(fault: Fault, result: dict[str, Any] | None) -> str:
    counted = "the start" if fault.of_itself else "the end"
    promised = (
        f"`{fault.name}`",
        description(fault),
        f"{fault.hold:g} s",
        _allowed(fault),
        f"{fault.over:g} s of {counted}" if fault.sees else "-",
        f"{fault.longest:g} s",
    )
    return f"| {' | '.join((*promised, *_measured(result)))} |\n"


def _allowed(fault: Fault) -> str:
    allowed = ", ".join(map(str, fault.sees)) or "nothing"
    return allowed + (f"; never at {', '.join(fault.spares)}" if fault.spares else "")


def _measured(result: dict[str, Any] | None) -> tuple[str, ...]:
    if result is None:
        return ("-", "-", "-", "not yet")
    seen = ", ".join(f"{kind}: {number}" for kind, number in sorted(result["failures"].items())) or "no failures"
    broken = "" if result["holds"] else " **A promise was broken.**"
    return (
        f"{seen} in {result['requests']} requests.{broken}",
        f"{result['over']:.1f} s",
        f"{result['longest']:.1f} s",
        result["measured"],
    )


def description(fault: Fault) -> str:
    """The docstring of the fault's injector, or else of the function that made the injector."""
    injected = inspect.unwrap(fault.inject)
    maker = injected.__qualname__.partition(".")[0]
    words = injected.__doc__ or getattr(sys.modules[injected.__module__], maker).__doc__
    return " ".join(words.split())
