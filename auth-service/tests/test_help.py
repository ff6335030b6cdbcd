"""Every command shows its help and version at every level, without any settings."""

import pytest

from auth_service.__main__ import cli


def commands(command, *names):
    """Every command as it is typed, groups included."""
    yield names
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, *names, name)


@pytest.mark.parametrize("names", list(commands(cli)), ids=" ".join)
async def test_every_command_has_help_and_version(shared_command_line, names):
    helped = await shared_command_line(*names, "--help")
    assert (helped.status, helped.errors) == (0, "")
    assert "Usage: auth_service " + " ".join(names) in helped.output
    assert await shared_command_line(*names, "--version") == type(helped)(0, "auth-service 0.1.0\n", "")


async def test_there_is_something_to_help_with():
    typed = {" ".join(names) for names in commands(cli)}
    assert {"", "serve", "migrate", "clients", "clients add", "keys remove", "sessions revoke"} <= typed
