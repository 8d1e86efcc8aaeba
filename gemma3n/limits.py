"""What of a machine this process may use: cores and memory, less what a container is denied."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_GROUPS = "sys/fs/cgroup"


def usable_cores(root: Path = ROOT) -> int:
    """Cores that the system lets this process run on; a container's share is rounded down.

    Args:
        root: of the file system, for tests.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such mask
        allowed = os.cpu_count() or 1
    share = core_limit(root)
    return allowed if share is None else max(1, min(allowed, int(share)))


def core_limit(root: Path = ROOT) -> float | None:
    """Cores that the control groups of this process grant it, or None."""
    shares = []
    for folder in _folders(root, "cpu"):
        if words := _words(folder / "cpu.max"):  # version 2: quota and period, or "max"
            quota, period = words[0], words[-1]
        else:
            quota = "".join(_words(folder / "cpu.cfs_quota_us"))
            period = "".join(_words(folder / "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(period):  # version 1 says -1 for no limit
            shares.append(int(quota) / int(period))
    return min(shares, default=None)


def total_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or the container's share."""
    whole, bound = physical_memory(), memory_limit()
    return whole if bound is None else min(whole, bound)


def physical_memory() -> int:
    """Bytes of memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes that the control groups of this process grant it, or None."""
    return min((bound for _, bound in _memory_groups(root)), default=None)


def available_memory(root: Path = ROOT) -> int | None:
    """Bytes that this process may take now without others being pushed out; None if unknown.

    What files fill of a control group's memory makes room where it is needed, as on the machine.
    """
    rooms = []
    for folder, bound in _memory_groups(root):
        used = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes")
        if used:
            counts = dict(line.split() for line in _lines(folder / "memory.stat"))
            files = int(counts.get("file", counts.get("total_cache", 0)))
            rooms.append(max(0, bound - int(used[0]) + files))
    for line in _lines(root / "proc/meminfo"):  # only Linux has it
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            rooms.append(int(value.split()[0]) * 1024)
    return min(rooms, default=None)


def _memory_groups(root: Path) -> Iterator[tuple[Path, int]]:
    """The control groups that bound our memory, each with its bytes."""
    for folder in _folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            for word in _words(folder / name):
                if word.isdigit() and int(word) < 1 << 60:  # version 1 says "none" by nearly 2^63
                    yield folder, int(word)


def _folders(root: Path, kind: str) -> Iterator[Path]:
    """The control groups that bound us, each within the next, as far as they can be seen here."""
    for line in _lines(root / "proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        if kinds and kind not in kinds.split(","):
            continue
        base = root / _GROUPS / kind if kinds else root / _GROUPS
        group = base / path.lstrip("/")
        yield from (one for one in (group, *group.parents) if one == base or base in one.parents)


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
