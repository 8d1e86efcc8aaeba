"""What work costs: seconds, and memory of this process. Runs in peers' interpreters, too."""

import time
from collections.abc import Callable
from pathlib import Path

_MEMORY = ("VmHWM", "RssFile", "RssAnon")  # as the kernel calls them


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def resident_bytes() -> dict[str, int]:
    """Of this process: its peak, and what it holds now of files and of its own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[name].split()[0]) * 1024 for name in _MEMORY}
