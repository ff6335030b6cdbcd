"""Clients that the tests need besides those that `make run` seeds, added with auth-service's own command line."""

import subprocess
from dataclasses import replace

import operations
from dev import testing
from drivers import DOORKEEPER, RFC6749

# HTTP Basic, a form and a URL each encode these characters differently.
_SECRET = "a:b%c+d e/é?&="

SCOPED = replace(
    RFC6749,
    client={"client_id": "scoped client", "client_secret": _SECRET},
    identity={"client_id": "scoped client", "client_secret": _SECRET},
)
PUBLIC = replace(RFC6749, client={"client_id": "public-client"}, identity={"client_id": "public-client"})
DISABLED = replace(
    RFC6749,
    client={"client_id": "disabled-client", "client_secret": "its-secret"},
    identity={"client_id": "disabled-client", "client_secret": "its-secret"},
)
INSPECTOR = replace(
    RFC6749,
    client={"client_id": "inspector", "client_secret": "inspector-secret"},
    identity={"client_id": "inspector", "client_secret": "inspector-secret"},
)
BRIEF = replace(DOORKEEPER, client={"client_id": "brief"}, identity={"client_id": "brief"})

_OPTIONS = {
    SCOPED.client_id: (
        "--dialect=rfc6749",
        f"--secret={_SECRET}",
        "--grant-type=password",
        "--grant-type=refresh_token",
        "--scope=read write",
        "--default-scope=read",
    ),
    PUBLIC.client_id: ("--dialect=rfc6749", "--public", "--grant-type=password", "--grant-type=refresh_token"),
    DISABLED.client_id: ("--dialect=rfc6749", "--secret=its-secret", "--grant-type=password"),
    INSPECTOR.client_id: (
        "--dialect=rfc6749",
        "--secret=inspector-secret",
        "--grant-type=client_credentials",
        "--scope=introspection",
    ),
    BRIEF.client_id: ("--dialect=doorkeeper", "--public", "--grant-type=password", "--access-token-lifetime=1"),
}


def register(stack: testing.Stack) -> None:
    """Add all of them at the same time, unless an earlier run has. `stack` must have a command line."""
    if stack.compose and INSPECTOR.client_id in subprocess.check_output(
        operations.command_line(stack, "auth_service", "clients", "list"), text=True, stdin=subprocess.DEVNULL
    ):
        return
    commands = [
        _command(stack, "add", client_id, *options)
        for client_id, options in _OPTIONS.items()
        if client_id != DISABLED.client_id
    ]
    assert _command(stack, "add", DISABLED.client_id, *_OPTIONS[DISABLED.client_id]).wait(testing.START_TIMEOUT) == 0
    commands.append(_command(stack, "disable", DISABLED.client_id))
    assert [command.wait(testing.START_TIMEOUT) for command in commands] == [0] * len(commands)


def _command(stack: testing.Stack, *arguments: str) -> subprocess.Popen[bytes]:
    command = operations.command_line(stack, "auth_service", "clients", *arguments)
    if stack.data_dir is not None:
        script = 'set -a; . "$0"; set +a; exec "$@"'
        command = ["sh", "-c", script, str(stack.data_dir / "env"), *command]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
