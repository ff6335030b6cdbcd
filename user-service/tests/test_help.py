"""Every command shows its help and version at every level, without any settings."""

import pytest

from user_service.__main__ import cli


def commands(command, *names):
    """Every command as it is typed, groups included."""
    yield names
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, *names, name)


@pytest.fixture(autouse=True)
def without_settings(monkeypatch):
    monkeypatch.delenv("USERS_DATABASE_URL", raising=False)


@pytest.mark.parametrize("names", list(commands(cli)), ids=" ".join)
def test_every_command_has_help_and_version(capsys, names):
    for option, words in (("--help", "Usage: user_service " + " ".join(names)), ("--version", "user-service 0.1.0\n")):
        with pytest.raises(SystemExit) as ended:
            cli([*names, option], prog_name="user_service")
        assert ended.value.code == 0
        assert words in capsys.readouterr().out
