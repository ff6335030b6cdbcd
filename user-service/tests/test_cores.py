"""The number of cores that a container may use, read from files laid out as the kernel's."""

from pathlib import Path

import pytest

from user_service.cores import usable_cores

AFFINITY = usable_cores(Path("/nowhere"))
NO_LIMIT = "900000000 100000"  # more cores than any machine that runs the tests has


def container(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000 100000", 1), ("100000 100000", 1), ("100001 100000", 2), ("1 100000", 1)]
)
def test_a_quota_of_version_2_is_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    root = container(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": quota})
    assert usable_cores(root) == min(AFFINITY, cores)


@pytest.mark.parametrize("quota", ["max 100000", NO_LIMIT, "", "garbage", "1 0"])
def test_without_a_lower_quota_it_is_the_affinity(tmp_path: Path, quota: str) -> None:
    root = container(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": quota})
    assert usable_cores(root) == AFFINITY >= 1


@pytest.mark.parametrize("limited", ["", "system.slice/", "system.slice/users.service/"])
def test_the_quota_of_every_cgroup_above_holds(tmp_path: Path, limited: str) -> None:
    cgroups = ("", "system.slice/", "system.slice/users.service/")
    files = {f"sys/fs/cgroup/{cgroup}cpu.max": NO_LIMIT for cgroup in cgroups}
    files |= {"proc/self/cgroup": "0::/system.slice/users.service", f"sys/fs/cgroup/{limited}cpu.max": "70000 100000"}
    assert usable_cores(container(tmp_path, files)) == 1


@pytest.mark.parametrize("path", ["/", "/docker/0123", "/../../elsewhere"])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_holds_also_where_the_path_is_the_hosts(
    tmp_path: Path, controllers: str, path: str
) -> None:
    files = {
        "proc/self/cgroup": f"4:memory:/x\n3:cpuset:/x\n2:{controllers}:{path}\n0::/",
        f"sys/fs/cgroup/{controllers}/cpu.cfs_quota_us": "90000",
        f"sys/fs/cgroup/{controllers}/cpu.cfs_period_us": "100000",
    }
    assert usable_cores(container(tmp_path, files)) == 1
    files[f"sys/fs/cgroup/{controllers}/cpu.cfs_quota_us"] = "-1"
    assert usable_cores(container(tmp_path, files)) == AFFINITY
