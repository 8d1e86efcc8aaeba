"""How far a run is: counted as it goes, told live, kept as its summary."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipelines.step import StageTimes
from stages.row import Row

logger = logging.getLogger(__name__)

_LOG_S = 5.0  # between two lines of progress


@dataclass
class Summary:
    """What a run did, and how long it took."""

    items: int = 0
    earlier: int = 0  # items that earlier runs in the folder had finished
    total: int | None = None  # items of the source, once they are counted
    rows: int = 0  # segments of items
    failed: int = 0  # rows
    interrupted: bool = False  # before its end
    lost: int = 0  # items of the source that are not done at the end of `executor=ray`
    skipped: Counter[str] = field(default_factory=Counter)  # files of other kinds, by extension
    audio_seconds: float = 0.0
    images: int = 0
    new_tokens: int = 0
    sizes: Counter[str] = field(default_factory=Counter)  # rows that each nested size answered
    seconds: float = 0.0  # from the start to the last result
    stage_seconds: StageTimes = field(default_factory=StageTimes)  # stages may overlap
    counts: dict[str, Counter[str]] = field(default_factory=dict)  # what stages tell of themselves
    parts: dict[str, Any] = field(default_factory=dict)  # seconds and bytes of what was loaded
    waited_seconds: float = 0.0  # the model, for rows to be read
    rows_ready: int = 0  # rows that were read when the model asked for them
    ple: dict[str, float] = field(default_factory=dict)  # what was asked of the PLE table
    joules: dict[str, float] = field(default_factory=dict)  # by device, as counters had it
    peak_rss_bytes: int = 0  # most memory that the process had at once
    pools: dict[str, Any] = field(default_factory=dict)  # of `executor=ray`: what each did
    boundaries: dict[str, Any] = field(
        default_factory=dict
    )  # what crossing from one to another cost
    # By setting, what `degrade=true` gave up for the budget: what it was, and is.
    degraded: dict[str, dict[str, Any]] = field(default_factory=dict)
    output: str = ""
    # What stages in other processes did so far, while these run.
    elsewhere: Callable[[], StageTimes] | None = None

    def count(self, rows: list[Row]) -> None:
        """Add rows that were written."""
        self.rows += len(rows)
        for row in rows:
            self.items += row["last"]
            self.failed += row.get("error") is not None
            self.audio_seconds += row.get("audio_s", 0.0)
            self.images += len(row["image_paths"])
            self.new_tokens += row.get("new_tokens", 0)
            self.sizes.update([row["size"]] if row.get("size") else [])

    def add_counts(self, stage: str, counts: Mapping[str, int]) -> None:
        """Add what a stage tells of itself."""
        if counts:
            self.counts.setdefault(stage, Counter()).update(counts)

    def waited(self, seconds: float, was_ready: bool) -> None:
        """Add what the model waited for a row."""
        self.waited_seconds += seconds
        self.rows_ready += was_ready

    def add_ple(self, rows: int, moved: int, bytes: int, wait_seconds: float, cached: bool) -> None:
        """Add what a table of per-layer embeddings was asked; see `gemma3n.text.ple.Traffic`.

        Args:
            rows: asked for.
            moved: of these, those that came from where the table is.
            bytes: of what came.
            wait_seconds: for them.
            cached: there is a row cache before it; else nothing can hit.
        """
        more = {"rows": rows, "moved": moved, "bytes": bytes, "wait_seconds": wait_seconds}
        self.ple = {name: self.ple.get(name, 0) + value for name, value in more.items()}
        if cached and self.ple["rows"]:
            self.ple["hit_rate"] = 1 - self.ple["moved"] / self.ple["rows"]

    def document(self) -> dict[str, Any]:
        """What is kept of it."""
        self.peak_rss_bytes = peak_rss()
        kept = {name: value for name, value in vars(self).items() if name != "elsewhere"}
        return {**kept, "stage_rows": self.stage_seconds.rows}

    def progress(self) -> str:
        """The line of a run that goes on: with how much is left, once that is known."""
        if self.total is None or not self.items:
            return str(self)
        left = max(0, self.total - self.earlier - self.items)
        seconds = left * self.seconds / self.items
        return f"{self}; {left} items left, about {_duration(seconds)}"

    def __str__(self) -> str:
        """One line, with numbers and units; it leaves out what the run has none of."""
        parts = [f"{self.items} items in {self.seconds:.1f} s", f"{self.failed} rows failed"]
        if self.earlier:
            parts.append(f"{self.earlier} items done before")
        if self.audio_seconds:
            speed = self.audio_seconds / max(self.seconds, 1e-9)
            parts.append(
                f"{self.audio_seconds / 3600:.3f} h of audio ({speed:.1f} times real time)"
            )
        if self.images:
            parts.append(f"{self.images} images")
        parts.append(f"{self.new_tokens} new tokens")
        if self.skipped:
            kinds = " ".join(sorted(end or "without-extension" for end in self.skipped))
            parts.append(f"{self.skipped.total()} files of other kinds skipped ({kinds})")
        return ", ".join(parts)


def follow(summary: Summary, show: Callable[[], None]) -> Callable[[list[Row]], None]:
    """What is to be called with rows as they are done, to tell of a run that begins now.

    Args:
        summary: is kept up to date, but for what was done before.
        show: shows it, as `live_line` yields it.
    """
    start = time.perf_counter()
    logged = 0.0

    def tell(rows: list[Row]) -> None:
        nonlocal logged
        summary.seconds = time.perf_counter() - start
        for row in rows:
            if error := row.get("error"):
                logger.warning("%r failed in %s: %s", row["item"], error["stage"], error["message"])
        if time.perf_counter() - logged > _LOG_S:
            logged = time.perf_counter()
            logger.info("%s", summary.progress())
        show()

    return tell


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def peak_rss() -> int:
    """Most bytes of memory that this process had at once."""
    try:
        import resource
    except ImportError:  # Windows has it not
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # KiB elsewhere


@contextmanager
def live_line(summary: Summary) -> Iterator[Callable[[], None]]:
    """A line on a terminal: the time, and the summary whenever the yielded function is called.

    Before the first call it says that the model is loading. Elsewhere than on a terminal it shows
    nothing: there the log lines are the progress.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    whole = Column(no_wrap=True)  # where a line is too long, the text wraps and these stay
    columns = (
        SpinnerColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole.copy()),
        TextColumn("{task.description}", table_column=Column()),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("loading the model", total=None)
        yield lambda: progress.update(task, description=summary.progress())
