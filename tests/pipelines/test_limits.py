"""What a container is denied, by the files in which the kernel says so."""

from pathlib import Path

import pytest

from pipelines.limits import core_limit, memory_limit, total_memory, usable_cores


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "cores", "memory"),
    [
        ("0::/\n", {}, None, None),
        (
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "250000 100000\n",
                "sys/fs/cgroup/a/b/memory.max": "7000000000\n",
                "sys/fs/cgroup/a/memory.max": "6000000000\n",
            },
            2.5,
            6_000_000_000,
        ),
        (  # in a container the path of the group is often not to be seen; its limits are at the top
            "4:memory:/docker/x\n1:cpu,cpuacct:/docker/x\n0::/\n",
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            3_000_000_000,
        ),
        (
            "4:memory:/\n1:cpu:/\n",
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            None,
        ),
    ],
)
def test_limits_of_both_versions_of_control_groups(
    tmp_path: Path, groups: str, files: dict[str, str], cores: float | None, memory: int | None
) -> None:
    root = machine(tmp_path, groups, files)
    assert core_limit(root) == cores
    assert memory_limit(root) == memory
    if cores is not None:
        assert usable_cores(root) <= max(1, cores)


def test_there_is_a_core_and_memory_here() -> None:
    assert usable_cores() >= 1
    assert total_memory() > 1e8
