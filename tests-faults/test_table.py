"""The table in `docs/faults.md` is what the suite wrote of its rows."""

import figures
from catalogue import FAULTS, SHORT


def test_each_fault_has_one_row():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert set(names) >= SHORT


def test_the_table_is_the_written_one():
    assert figures.DOCUMENT.read_text() == figures.document(FAULTS)
