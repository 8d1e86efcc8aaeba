"""What each process of a pool notes of itself, where the driver finds it whatever dies.

A process keeps one file, and replaces it whole; so what a dead one did still counts, and it shows
what it was doing.
"""

import json
import os
import platform
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.progress import peak_rss
from pipelines.step import StageTimes

_SUMS = (  # of what processes did
    *("rows_in", "rows", "batches", "seconds", "in_seconds", "out_seconds", "alive_seconds"),
    *("bytes_in", "bytes_out", "ple_rows", "ple_moved", "ple_bytes", "ple_seconds"),
)


@dataclass
class Place:
    """Where a process runs, and what it sees."""

    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    node: str = ""  # Ray's ids; empty where there is no Ray
    worker: str = ""
    gpus: str | None = field(default_factory=lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))

    @classmethod
    def here(cls) -> "Place":
        """Of this process. It never brings Ray in."""
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return cls()
        context = ray.get_runtime_context()
        return cls(node=context.get_node_id(), worker=context.get_worker_id())


@dataclass
class Worked:
    """What a process did."""

    rows_in: int = 0
    rows: int = 0  # handed on
    batches: int = 0
    seconds: float = 0.0  # of its stages
    stage_seconds: StageTimes = field(default_factory=StageTimes)
    stage_rows: dict[str, int] = field(default_factory=dict)  # that came out of each
    in_seconds: float = 0.0  # from Arrow
    out_seconds: float = 0.0  # to Arrow
    alive_seconds: float = 0.0  # from when it was ready to its latest note
    ple_rows: int = 0  # asked of the table of per-layer embeddings
    ple_moved: int = 0  # of them, those that came from where it is
    ple_bytes: int = 0
    ple_seconds: float = 0.0  # waited for them
    bytes_in: int = 0
    bytes_out: int = 0
    counts: dict[str, dict[str, int]] = field(
        default_factory=dict
    )  # what stages tell of themselves
    peak_rss_bytes: int = 0


class Notes:
    """The file of one process."""

    def __init__(self, folder: Path) -> None:
        """Begin it.

        Args:
            folder: of the pool, which the driver reads.
        """
        self.name, self.place, self.worked = uuid.uuid4().hex, Place.here(), Worked()
        self._folder, self._ready = folder, time.perf_counter()
        self._began = time.time()
        self.tell("waited")

    @property
    def stack(self) -> Path:
        """Where it leaves the places of its threads when it crashes."""
        return self._folder / f"{self.name}.stack"

    def tell(self, doing: str, is_over: bool = False) -> None:
        """Keep what was done so far.

        Args:
            doing: what the process does now, for the log should it die.
            is_over: whether that was all.
        """
        self.worked.alive_seconds = time.perf_counter() - self._ready
        self.worked.peak_rss_bytes = peak_rss()
        self.worked.stage_rows = self.worked.stage_seconds.rows
        note = {
            "place": asdict(self.place),
            "worked": asdict(self.worked),
            "doing": doing,
            "over": is_over,
            "times": [self._began, time.time()],
        }
        half = self._folder / f"{self.name}.half"
        half.write_text(json.dumps(note))
        half.replace(self._folder / f"{self.name}.json")


@dataclass(frozen=True)
class Note:
    """What the driver reads of one process."""

    name: str
    place: Place
    worked: Worked
    doing: str
    over: bool
    times: tuple[float, float]  # when it was ready, and of the note; seconds of its own clock
    stack: str  # empty unless it crashed


def notes(folder: Path) -> Iterator[Note]:
    """Of all processes that a pool has had so far.

    Args:
        folder: of the pool.
    """
    for path in sorted(folder.glob("*.json")):
        one: dict[str, Any] = json.loads(path.read_bytes())
        stack = path.with_suffix(".stack")
        yield Note(
            path.stem,
            Place(**one["place"]),
            Worked(**one["worked"]),
            one["doing"],
            one["over"],
            tuple(one["times"]),
            stack.read_text(errors="replace") if stack.exists() else "",
        )


def together(some: list[Note]) -> Worked:
    """What processes did together."""
    total = Worked()
    for note in some:
        total.stage_seconds.add(note.worked.stage_seconds)
        total.stage_seconds.count(note.worked.stage_rows)
        total.stage_rows = total.stage_seconds.rows
        total.peak_rss_bytes = max(total.peak_rss_bytes, note.worked.peak_rss_bytes)
        for stage, counts in note.worked.counts.items():
            so_far = Counter(total.counts.get(stage, {}))
            so_far.update(counts)
            total.counts[stage] = dict(so_far)
        for name in _SUMS:
            setattr(total, name, getattr(total, name) + getattr(note.worked, name))
    return total
