"""One process of a pool: Arrow batches through neighbouring stages of the path."""

import json
import math
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.attempts import Attempts, deadline
from pipelines.boundary import Boundary
from pipelines.finished import not_yet
from pipelines.path import build_stage, stage_class
from pipelines.pools import Post
from pipelines.progress import peak_rss
from pipelines.settings import PlePlacement
from pipelines.step import expand_step, run_step
from stages.model import shared_model
from stages.row import HEAVY, Row

if TYPE_CHECKING:
    from pipelines.ple_store import StoreTable

# Column beside those of a row: its item's segments that earlier runs have finished.
DONE = "segments_done"
_SUMS = [  # of what processes did
    *("rows", "batches", "seconds", "crossing_seconds", "bytes_in", "bytes_out"),
    *("ple_seconds", "ple_rows", "ple_bytes"),
]
_COMPUTING = ("encode", "fuse", "decode")  # stages that use the model


@dataclass
class Worked:
    """What a process did."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0  # of its stages
    stage_seconds: dict[str, float] = field(default_factory=dict)
    crossing_seconds: float = 0.0  # to and from Arrow
    ple_seconds: float = 0.0  # waited for rows of a store
    ple_rows: int = 0
    ple_bytes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    peak_rss_bytes: int = 0


class PoolWorker:
    """Is made where it runs; Ray makes it anew where it died."""

    def __init__(self, post: Post) -> None:
        """Load what the stages need.

        Args:
            post: what to do.
        """
        # What comes from Arrow is read-only, and nobody writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        self.post, self.limits = post, post.job.executor
        if {*post.stages} & {*_COMPUTING}:
            import torch

            torch.set_num_threads(max(1, math.ceil(post.settings.num_cpus)))
        self.stages = {
            name: build_stage(name, post.job, post.load, post.folder) for name in post.stages
        }
        self.table = _stored_table(post)
        self.boundary = boundary_of(post)
        self.attempts = Attempts(post.work / "attempts", self.limits.max_row_attempts)
        self.worked, self.name = Worked(), f"{uuid.uuid4().hex}.json"

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """What becomes of a batch, as it comes.

        Args:
            table: rows, as `boundary_of` has them.
        """
        start = time.perf_counter()
        rows = self.boundary.to_rows(table)
        self.worked.crossing_seconds += time.perf_counter() - start
        self.worked.bytes_in += table.nbytes
        self.worked.batches += 1
        for done in self._survived(rows):
            self.worked.rows += len(done)
            start = time.perf_counter()
            made = self.boundary.to_arrow(done)
            self.worked.crossing_seconds += time.perf_counter() - start
            self.worked.bytes_out += made.nbytes
            self._tell()
            yield made

    def _survived(self, rows: list[Row]) -> Iterator[list[Row]]:
        """What becomes of rows; of those that ended a process before, one by one."""
        if not self.attempts.begun(rows):
            yield from self._touched(rows)
            return
        for row in rows:
            if self.attempts.is_hopeless(row):
                yield [self._hopeless(row)]
            else:
                yield from self._touched([row])
        self.attempts.forget(rows)

    def _touched(self, rows: list[Row]) -> Iterator[list[Row]]:
        with self.attempts.touching(rows):
            made = self._run(rows)
            while True:
                start = time.perf_counter()
                with deadline(self.limits.row_timeout_s):
                    done = next(made, None)
                self.worked.seconds += time.perf_counter() - start
                if done is None:
                    return
                yield done

    def _run(self, rows: list[Row]) -> Iterator[list[Row]]:
        first, *others = self.stages
        if first != "read":
            yield self._through([first, *others], rows)
            return
        # A recording of hours becomes rows one after another, and they leave as they come.
        some: list[Row] = []
        for row in chain.from_iterable(map(self._read, rows)):
            some += self._through(others, [row])
            if len(some) >= self.post.settings.batch:
                yield some
                some = []
        if some:
            yield some

    def _read(self, row: Row) -> Iterator[Row]:
        plain: Any = row.copy()
        done = frozenset(plain.pop(DONE))
        made = expand_step(self.stages["read"], "read", plain)
        return not_yet(self._timed("read", made), done)

    def _through(self, names: Sequence[str], rows: list[Row]) -> list[Row]:
        for name in names:
            start = time.perf_counter()
            rows = run_step(self.stages[name], name, rows)
            self._spent(name, start)
        return rows

    def _timed(self, name: str, rows: Iterator[Row]) -> Iterator[Row]:
        while True:
            start = time.perf_counter()
            row = next(rows, None)
            self._spent(name, start)
            if row is None:
                return
            yield row

    def _spent(self, name: str, start: float) -> None:
        so_far = self.worked.stage_seconds.get(name, 0.0)
        self.worked.stage_seconds[name] = so_far + time.perf_counter() - start

    def _hopeless(self, row: Row) -> Row:
        light: Any = {name: value for name, value in row.items() if name not in (*HEAVY, DONE)}
        light["error"] = {
            "stage": self.post.stages[0],
            "message": f"its process ended {self.limits.max_row_attempts} times while it was in "
            f"{' or '.join(self.post.stages)}: a crash, no memory, or more than "
            f"{self.limits.row_timeout_s:g} s. Look at the file, or raise executor.row_timeout_s "
            f"or executor.pools.{self.post.pool}.memory.",
        }
        failed: Row = light
        return failed

    def _tell(self) -> None:
        """Keep what was done so far where the driver finds it, should this process die too."""
        self.worked.peak_rss_bytes = peak_rss()
        if self.table is not None:
            self.worked.ple_seconds = self.table.waited_seconds
            self.worked.ple_rows, self.worked.ple_bytes = self.table.asked, self.table.bytes
        half = self.post.work / f".{self.name}"
        half.write_text(json.dumps(asdict(self.worked)))
        half.replace(self.post.work / self.name)


def _stored_table(post: Post) -> "StoreTable | None":
    """The table of `ple=store` in the place of the decoder's own, if the post decodes."""
    if post.job.ple.placement is not PlePlacement.store or "decode" not in post.stages:
        return None
    from pipelines.ple_store import Store, StoreTable

    table = StoreTable(Store.of(post.job, post.load.folder))
    shared_model(post.load).text.table = table
    return table


def boundary_of(post: Post) -> Boundary:
    """Columns that travel in a job: a row's own, and those of its stages."""
    own: dict[str, Any] = {DONE: list[int]}
    for name in post.job.path:
        own |= stage_class(name).types
    return Boundary(own)


def worked(post: Post) -> tuple[int, Worked]:
    """How many processes a pool has had so far, and what they did together."""
    total, processes = Worked(), 0
    for path in post.work.glob("*.json"):
        one = Worked(**json.loads(path.read_bytes()))
        processes += 1
        for name, spent in one.stage_seconds.items():
            total.stage_seconds[name] = total.stage_seconds.get(name, 0.0) + spent
        total.peak_rss_bytes = max(total.peak_rss_bytes, one.peak_rss_bytes)
        for name in _SUMS:
            setattr(total, name, getattr(total, name) + getattr(one, name))
    return processes, total
