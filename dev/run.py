"""Start the stack, print how to use it, keep it running until a signal arrives, and stop it."""

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from dev.data_directory import DataDirectory
from dev.errors import StartError
from dev.examples import examples
from dev.settings import Settings, check_ports, load_settings
from dev.stack import Stack


def main() -> int:
    """Run until a signal arrives; returns the exit status: 1, with one line on standard error, if the start fails."""
    described = f"{__doc__} Settings are environment variables."
    argparse.ArgumentParser(prog="python -m dev", description=described).parse_args()
    try:
        settings = load_settings()
        check_ports(settings)
        data = DataDirectory(settings.data_dir)
        with data.held():
            asyncio.run(_run(settings, data))
    except (StartError, OSError) as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings, data: DataDirectory) -> None:
    stack = Stack(settings, data, _say)
    asked_to_stop = asyncio.create_task(_asked_to_stop())
    work = asyncio.create_task(_start_and_watch(stack, settings, data))
    try:
        await asyncio.wait({work, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
        if asked_to_stop.done():
            _say("stopping")
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        await stack.stop()


async def _asked_to_stop() -> None:
    """Wait for a signal or for the terminal to close, which `make` does not pass on."""
    signalled = asyncio.Event()
    hangup_counts = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # nohup ignores it
    for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangup_counts else [])):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    terminal = hangup_counts and os.isatty(1)
    while not (signalled.is_set() or (terminal and not os.isatty(1))):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(signalled.wait(), 0.5)


async def _start_and_watch(stack: Stack, settings: Settings, data: DataDirectory) -> None:
    started = time.monotonic()
    _say(f"starting on {data.root}")
    await stack.start()
    _say(_greeting(settings, data, time.monotonic() - started))
    await stack.watch()


def _greeting(settings: Settings, data: DataDirectory, seconds: float) -> str:
    environment = _shown(data.environment)
    requests = "\n\n".join(f"# {title}\n{command}" for title, command in examples(settings.public_url).items())
    return f"""ready after {seconds:.1f} s

  public address  {settings.public_url}
  logs            {_shown(data.logs)}
  settings        {environment}, for the command lines: set -a; . {environment}; set +a
  stop            Ctrl-C

{requests}
"""


def _shown(path: Path) -> str:
    """A path to paste, relative if it is below the working directory."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def _say(message: str) -> None:
    """Print a line, even if the terminal is gone."""
    with contextlib.suppress(OSError):
        print(message, flush=True)
