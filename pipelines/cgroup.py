"""A memory limit for processes of ours: a control group (cgroup v1 or v2) below this one's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gemma3n.errors import SettingsError

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """A control group, for as long as the block that made it."""

    folder: Path
    peak_name: str

    def join(self) -> None:
        """Put this process in it; what it touches from now on counts."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak_bytes(self) -> int:
        """Most memory that its processes had at once, the page cache that they filled included."""
        return int((self.folder / self.peak_name).read_text())


@contextmanager
def limited(limit: int) -> Iterator[Group]:
    """A control group whose processes have so many bytes of memory, their page cache included.

    Raises:
        SettingsError: this process may not make one.
    """
    try:
        group, limits = _below(_ROOT)
        group.folder.mkdir()
    except OSError as error:
        raise _refused(str(error)) from error
    try:
        for name, value in limits.items():
            if value is not None or (group.folder / name).exists():
                (group.folder / name).write_text(str(limit if value is None else value))
        yield group
    except OSError as error:
        raise _refused(str(error)) from error
    finally:
        group.folder.rmdir()


def _below(root: Path) -> tuple[Group, dict[str, int | None]]:
    """A group of ours to be made, and what to write to its files: None is the limit."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines)}
    name = f"gemma3n-{os.getpid()}"
    for kinds, path in own.items():
        if "memory" in kinds.split(","):
            folder = root / "memory" / path.lstrip("/") / name
            return Group(folder, "memory.max_usage_in_bytes"), {"memory.limit_in_bytes": None}
    folder = root / own[""].lstrip("/") / name
    return Group(folder, "memory.peak"), {"memory.max": None, "memory.swap.max": 0}


def _refused(why: str) -> SettingsError:
    return SettingsError(
        f"a memory limit needs a cgroup, and this process may not make one: {why}. Run it as root, "
        "or all of it under `systemd-run --user --scope -p MemoryMax=6G -p MemorySwapMax=0`, and "
        "set memory_gb=0: then the table is dropped from the page cache after every token."
    )
