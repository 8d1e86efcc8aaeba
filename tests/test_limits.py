"""What a container is denied, by the files in which the kernel says so."""

from pathlib import Path

import pytest

from gemma3n.limits import (
    available_memory,
    core_limit,
    memory_limit,
    total_memory,
    usable_cores,
)


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


@pytest.mark.parametrize(
    ("groups", "files", "room"),
    [
        ("0::/\n", {}, 8_192_000),
        (
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/memory.max": "5000000\n",
                "sys/fs/cgroup/a/memory.current": "4000000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 1000000\nfile 3000000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            4_000_000,
        ),
        (
            "4:memory:/\n",
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "2500000\n",
                "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_cache 250000\n",
            },
            750_000,
        ),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "9000000\n"}, 8_192_000),
    ],
)
def test_room_is_what_a_container_has_left_or_the_machine(
    tmp_path: Path, groups: str, files: dict[str, str], room: int
) -> None:
    meminfo = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n"}
    assert available_memory(machine(tmp_path, groups, meminfo | files)) == room


def test_a_machine_that_does_not_say_has_no_known_room(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path, "0::/\n", {})) is None
