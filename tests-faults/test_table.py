"""The table in `docs/faults.md` is the one that the suite writes."""

import re

import figures
from catalogue import FAULTS, SHORT

README = figures.DOCUMENT.parent.parent / "README.md"


def test_each_fault_has_one_row():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert set(names) >= SHORT


def test_the_readme_names_rows_that_exist():
    named = re.findall(r"\(faults ([^)]*)\)", README.read_text())
    assert named
    assert set(re.findall(r"`([^`]*)`", " ".join(named))) <= {fault.name for fault in FAULTS}


def test_the_table_is_the_written_one():
    assert figures.DOCUMENT.read_text() == figures.document(FAULTS)
