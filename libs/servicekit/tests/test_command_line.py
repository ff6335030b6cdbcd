"""Values in the tables of the command lines are printed whole, so that they can be copied."""

import pytest

from servicekit.command_line import print_table

ID = "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca"
COLUMNS = ("id", "client_id", "kid", "scope", "created_at", "odd")
ROW = ("00f0e1d2c3b4a596", ID, "qfxMkQiXOxZtZwVW", "read write " * 9, "2026-11-21T23:50:53+00:00", "[/b]:tada:")


@pytest.fixture
def print_one(monkeypatch, capsys):
    def print_one(terminal):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
        print_table(COLUMNS, [ROW], ids=("id", "client_id", "kid"))
        return capsys.readouterr().out

    return print_one


@pytest.mark.parametrize("terminal", [True, False])
def test_ids_are_in_one_piece_at_eighty_columns(print_one, terminal):
    printed = print_one(terminal)
    assert [text for text in (*ROW[:3], ROW[5]) if text not in printed] == []


def test_piped_a_row_is_a_line(print_one):
    lines = [line for line in print_one(False).splitlines() if ID in line]
    assert [text for text in ROW if text.strip() not in lines[0]] == []
