"""One process of a pool: Arrow batches through neighbouring stages of the path."""

import json
import platform
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gemma3n.errors import SettingsError
from pipelines.attempts import Attempts, deadline
from pipelines.boundary import Boundary
from pipelines.finished import not_yet
from pipelines.path import build_stage, stage_class
from pipelines.pools import Post
from pipelines.progress import peak_rss
from pipelines.settings import PlePlacement
from pipelines.step import StageTimes, batches, expand_step, run_steps
from stages.model import shared_model
from stages.row import HEAVY, Row

if TYPE_CHECKING:
    from gemma3n.text.ple import PleTable

# Column beside those of a row: its item's segments that earlier runs have finished.
DONE = "segments_done"
_SUMS = [  # of what processes did
    *("rows", "batches", "seconds", "crossing_seconds", "bytes_in", "bytes_out"),
    *("ple_rows", "ple_moved", "ple_bytes", "ple_seconds"),
]


@dataclass
class Worked:
    """What a process did."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0  # of its stages
    stage_seconds: StageTimes = field(default_factory=StageTimes)
    crossing_seconds: float = 0.0  # to and from Arrow
    ple_rows: int = 0  # asked of the table of per-layer embeddings
    ple_moved: int = 0  # of them, those that came from where it is
    ple_bytes: int = 0
    ple_seconds: float = 0.0  # waited for them
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
        if post.load.device == "auto" and not post.settings.num_gpus:
            # Ray would let it see GPUs that it did not ask for.
            post = replace(post, load=replace(post.load, device="cpu"))
        self.post, self.limits = post, post.job.executor
        self.reads = post.stages[0] == "read"
        with _starting(post):
            if post.computes:
                import torch

                torch.set_num_threads(post.threads)
            self.stages = {
                name: build_stage(name, post.job, post.load, post.folder) for name in post.stages
            }
            self.table = _table(post)
        self.boundary = boundary_of(post)
        self.attempts = Attempts(post.attempts, self.limits.max_row_attempts)
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
        # Cut by number of rows alone, so that the tables are the same however often a process died
        # before: Ray, which joins them to blocks by their bytes, knows by the number of a block
        # which of a task it has already.
        waiting: list[Row] = []
        size = self.post.settings.batch
        again = self.attempts.begun(rows)
        with self.attempts.touching(rows):
            for done in self._one_by_one(rows) if again else self._in_time(self._run(rows)):
                waiting += done
                while len(waiting) >= size:
                    yield self._leaving(waiting[:size])
                    waiting = waiting[size:]
            if waiting:
                yield self._leaving(waiting)

    def _leaving(self, rows: list[Row]) -> pa.Table:
        start = time.perf_counter()
        made = self.boundary.to_arrow(rows)
        self.worked.crossing_seconds += time.perf_counter() - start
        self.worked.rows += len(rows)
        self.worked.bytes_out += made.nbytes
        self._tell()
        return made

    def _one_by_one(self, rows: list[Row]) -> Iterator[list[Row]]:
        """What becomes of rows that have ended a process before."""
        for row in rows:
            if self.attempts.is_hopeless(row):
                yield from self._in_time(self._given_up(row))
            else:
                with self.attempts.touching([row], alone=True):
                    yield from self._in_time(self._run([row]))

    def _given_up(self, row: Row) -> Iterator[list[Row]]:
        """A row as it has failed; of an item, what was handed on of it comes before."""
        failed: Any = {name: value for name, value in row.items() if name not in (*HEAVY, DONE)}
        failed["error"] = {
            "stage": self.post.stages[0],
            "message": f"its process ended {self.limits.max_row_attempts} times while it was in "
            f"{' or '.join(self.post.stages)}: a crash, no memory, or more than "
            f"{self.limits.row_timeout_s:g} s. Look at the file, give the machine more memory, or "
            "raise executor.row_timeout_s.",
        }
        if not self.reads:
            yield self._through(self.post.stages, [failed])
            return
        failed["segment"] = left = self.attempts.left(row["item"])
        made = chain(self._first(row, left), [failed])
        yield from self._grouped(not_yet(made, _done(row)))

    def _first(self, row: Row, count: int) -> Iterator[Row]:
        """The first segments of an item; the next one, which may be deadly, is not even begun."""
        segments = self._segments(row)
        while count and (made := next(segments, None)) is not None:
            yield made
            if made["segment"] + 1 >= count:
                return

    def _in_time(self, made: Iterator[list[Row]]) -> Iterator[list[Row]]:
        while True:
            start = time.perf_counter()
            with deadline(self.limits.row_timeout_s):
                done = next(made, None)
            self.worked.seconds += time.perf_counter() - start
            if done is None:
                return
            yield done

    def _run(self, rows: list[Row]) -> Iterator[list[Row]]:
        if not self.reads:
            yield self._through(self.post.stages, rows)
            return
        segments = (not_yet(self._segments(row), _done(row)) for row in rows)
        for some in self._grouped(chain.from_iterable(segments)):
            yield some
            if not (latest := some[-1])["last"]:
                self.attempts.has_left(latest["item"], latest["segment"] + 1)

    def _grouped(self, rows: Iterator[Row]) -> Iterator[list[Row]]:
        """Segments through what comes after `read`, some at a time, as they are read."""
        for some in batches(rows, self.post.settings.batch):
            yield self._through(self.post.stages[1:], some)

    def _segments(self, row: Row) -> Iterator[Row]:
        plain: Any = {name: value for name, value in row.items() if name != DONE}
        made = expand_step(self.stages["read"], "read", plain)
        return self.worked.stage_seconds.timed("read", made)

    def _through(self, names: Sequence[str], rows: list[Row]) -> list[Row]:
        return run_steps(self.stages, names, rows, self.worked.stage_seconds)

    def _tell(self) -> None:
        """Keep what was done so far where the driver finds it, should this process die too."""
        self.worked.peak_rss_bytes = peak_rss()
        if self.table is not None:
            traffic = self.table.traffic
            self.worked.ple_rows, self.worked.ple_moved = traffic.rows, traffic.moved
            self.worked.ple_bytes, self.worked.ple_seconds = traffic.bytes, traffic.wait_seconds
        half = self.post.work / f"{self.name}.half"
        half.write_text(json.dumps(asdict(self.worked)))
        half.replace(self.post.work / self.name)


def _done(row: Any) -> frozenset[int]:
    """The segments of a listed item that earlier runs have finished."""
    return frozenset(row[DONE])


def not_shared(folder: Path) -> SettingsError:
    """What is wrong where a process does not find the driver's files."""
    return SettingsError(
        f"'{folder}' on {platform.node()} is not the folder that the run was started in. Give an "
        "output that all nodes share."
    )


@contextmanager
def _starting(post: Post) -> Iterator[None]:
    """Note that a process starts, until it has: one that always dies of it is not started for ever.

    Raises:
        SettingsError: the folder of the run is not the driver's.
        RuntimeError: too many have died.
    """
    if not post.attempts.is_dir():
        raise not_shared(post.folder)
    note = post.work / "starting"
    most = post.job.executor.max_row_attempts * post.settings.max
    if note.exists() and note.stat().st_size >= most:
        raise RuntimeError(
            f"{most} processes of pool {post.pool} have ended while they were starting: no memory "
            f"for {' and '.join(post.stages)}, or a crash."
        )
    with note.open("ab") as file:
        file.write(b".")
    yield
    note.unlink(missing_ok=True)


def _table(post: Post) -> "PleTable | None":
    """The PLE table of a post that decodes; that of `ple=store` in the place of its own."""
    if "decode" not in post.stages:
        return None
    model = shared_model(post.load)
    if post.job.ple.placement is PlePlacement.store:
        from pipelines.ple_store import Store, stored_table

        model.text.table = stored_table(Store.of(post.job, post.load.folder), model)
    return model.text.table


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
        total.stage_seconds.add(one.stage_seconds)
        total.peak_rss_bytes = max(total.peak_rss_bytes, one.peak_rss_bytes)
        for name in _SUMS:
            setattr(total, name, getattr(total, name) + getattr(one, name))
    return processes, total
