"""The table in `docs/faults.md` is what the suite wrote of its rows."""

import figures
from catalogue import FAULTS


def test_each_fault_has_one_row():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)


def test_the_table_is_the_written_one():
    before = figures.DOCUMENT.read_text()
    figures.write_table(FAULTS)
    assert figures.DOCUMENT.read_text() == before
