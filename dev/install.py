"""Installs the packages of a lock file and reports progress. Needs only an interpreter with pip."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_STEP = 10  # packages between two lines if standard output is not a terminal


def main(lock: Path) -> int:
    """Install the packages; returns pip's exit status, and prints pip's output unless that is 0."""
    packages = sum("==" in line for line in lock.read_text().splitlines())
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", "--require-hashes", "-r", str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        printed = list(_tell(pip.stdout, packages))
    if pip.returncode:
        sys.stderr.writelines(printed)
    return pip.returncode


def _tell(lines: Iterable[str], packages: int) -> Iterable[str]:
    """Yield pip's output, and report each of the lock file's `packages` as pip fetches it."""
    fetched = 0
    for line in lines:
        yield line
        if line.startswith("Ignoring "):  # for another platform
            packages -= 1
        elif line.startswith(("Collecting ", "Requirement already satisfied: ")):
            fetched += 1
            _say(f"fetching package {fetched} of {packages}", passing=fetched % _STEP > 0)
        elif line.startswith("Installing collected packages"):
            _say(f"unpacking {packages} packages", passing=False)


def _say(words: str, *, passing: bool) -> None:
    """Print a line. A `passing` line is overwritten by the next one on a terminal, and omitted elsewhere."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {words}", end="" if passing else "\n", flush=True)
    elif not passing:
        print(f"  {words}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends without a traceback
    sys.exit(main(Path(sys.argv[1])))
