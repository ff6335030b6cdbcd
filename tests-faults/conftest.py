"""The running stack into which one fault after the other is injected, in its own network namespace."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import history
import namespaces
from catalogue import SHORT
from figures import MEASURED
from name_server import running
from replicas import Stack


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--form", choices=("short", "whole"), default="whole", help="which faults to inject")
    parser.addoption("--only", default="", help="comma-separated names of faults")
    parser.addoption("--record", action="store_true", help="write the measurements to docs/faults.md")


DISK_MEGABYTES, LOG_MEGABYTES = 640, 128


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the measurements of each fault, whether its test passed or not."""
    terminalreporter.section("measured")
    for line in config.stash[MEASURED]:
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what was not asked for, and run faults that need relays last, because they restart the stack."""
    faults = {item: item.callspec.params["fault"] for item in items if item.name.startswith("test_fault[")}
    only = set(filter(None, config.getoption("--only").split(",")))
    unknown = only - {fault.name for fault in faults.values()}
    if unknown:
        raise pytest.UsageError(f"no such fault: {', '.join(sorted(unknown))}")
    left_out = [
        item
        for item, fault in faults.items()
        if (config.getoption("--form") == "short" and fault.name not in SHORT) or (only and fault.name not in only)
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: item in faults and faults[item].ways == "relayed")


@pytest.fixture(scope="session")
def disk() -> Iterator[Path]:
    """A directory on its own small file system; other users cannot enter pytest's directories."""
    with tempfile.TemporaryDirectory(prefix="parley-faults-", ignore_cleanup_errors=True) as directory:
        namespaces.enter(Path(directory))
        disk = Path(directory) / "disk"
        disk.mkdir()
        namespaces.mount_small(disk, DISK_MEGABYTES)
        logs = disk / "logs"
        logs.mkdir()
        namespaces.mount_small(logs, LOG_MEGABYTES)
        yield disk
        for mounted in (logs, disk):
            namespaces.unmount(mounted)


@pytest.fixture(scope="session")
async def stack(disk: Path) -> AsyncIterator[Stack]:
    """Every replica of every service, PostgreSQL and Redis."""
    async with running(namespaces.NAME_SERVER) as names:
        stack = Stack(disk, names)
        try:
            await stack.start()
            async with stack.superuser("auth") as auth, stack.superuser("users") as users:
                await history.record(auth, users)
            yield stack
        finally:
            await stack.stop()
