"""The number of cores that this process may use, according to its CPU affinity and its container's CPU quota."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNT = "sys/fs/cgroup"


def usable_cores(root: Path = Path("/")) -> int:
    """The minimum of the CPU affinity and of every quota that applies to this process, rounded up to whole cores."""
    return max(1, math.ceil(min([_affinity(), *_quotas(root)])))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The quotas in cores. An unreadable file is no quota: another system, or a container that hides its cgroups."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from (_quota_v2(directory) for directory in _upwards(root / MOUNT, path))
        elif "cpu" in controllers.split(","):
            yield from (_quota_v1(directory) for directory in _upwards(root / MOUNT / controllers, path))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The directories of a cgroup and of its ancestors, which limit it too, up to the mount.

    A container sees its own cgroup as the mount, and may be given a path that exists only on the host.
    """
    names = PurePosixPath(path.removeprefix("/"))
    for ancestor in (names, *names.parents):
        yield mount / ancestor


def _quota_v2(cgroup: Path) -> float:
    quota, _, period = _text(cgroup / "cpu.max").partition(" ")
    return _cores(quota, period)


def _quota_v1(cgroup: Path) -> float:
    return _cores(_text(cgroup / "cpu.cfs_quota_us"), _text(cgroup / "cpu.cfs_period_us"))


def _cores(quota: str, period: str) -> float:
    """The cores for a quota and a period in microseconds; without a limit the quota is `max` (version 2) or -1 (1)."""
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return cores if cores > 0 else math.inf


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
