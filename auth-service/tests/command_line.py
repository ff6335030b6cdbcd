"""Runs `python -m auth_service …` many times in one process: importing it takes longer than most commands."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from .processes import environment
from .serving import PATIENCE

WORKER = """
import contextlib, io, json, os, sys, traceback
from auth_service.__main__ import cli
from auth_service.commands import keys

keys.LEAST_PUBLISH_SECONDS = keys.RELOAD_SECONDS = 0.1  # `keys rotate --now` waits for each

for line in sys.stdin:
    arguments, settings, stdin = json.loads(line)
    os.environ.update(settings)
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            cli(arguments, prog_name="auth_service")
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
            if isinstance(ended.code, str):
                errors.write(ended.code + chr(10))
        except Exception:
            status = 1
            errors.write(traceback.format_exc())
    for name in settings:
        del os.environ[name]
    print(json.dumps([status, output.getvalue(), errors.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The JSON output of a command that must succeed and write nothing to standard error."""
        assert (self.status, self.errors) == (0, ""), self
        return json.loads(self.output)

    @property
    def warned_json(self) -> Any:
        """The JSON output of a command that must succeed but may write to standard error."""
        assert self.status == 0, self
        return json.loads(self.output)

    @property
    def refusal(self) -> str:
        """The single line on standard error of a command that was refused."""
        assert (self.status, self.output, self.errors.count("\n")) == (1, "", 1), self
        return self.errors.rstrip("\n")


class CommandLine:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, *arguments: str, stdin: str = "", **settings: str) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        named = {f"AUTH_{name}".upper(): value for name, value in settings.items()}
        self._process.stdin.write(json.dumps([arguments, named, stdin]).encode() + b"\n")
        return Ended(*json.loads(await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)))


@contextlib.asynccontextmanager
async def command_line() -> AsyncIterator[CommandLine]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WORKER,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield CommandLine(process)
    finally:
        process.kill()
        await process.wait()
