"""One process of a pool: Arrow batches through neighbouring stages of the path."""

import faulthandler
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gemma3n.errors import SettingsError
from pipelines.attempts import Attempts, deadline, noted
from pipelines.boundary import Boundary
from pipelines.escalation import ESCALATE, decoder
from pipelines.finished import not_yet
from pipelines.path import build_stage, stage_class
from pipelines.pool_notes import Notes
from pipelines.pools import Post
from pipelines.settings import PlePlacement
from pipelines.step import batches, expand_step, run_steps, through
from stages.model import shared_model
from stages.row import HEAVY, Row, Stage

if TYPE_CHECKING:
    from gemma3n.text.ple import PleTable

# Column beside those of a row: its item's segments that earlier runs have finished.
DONE = "segments_done"


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
        with _starting(post):
            if post.computes:
                import torch

                torch.set_num_threads(post.threads)
            self.stages = {name: _stage(name, post) for name in post.stages}
            self.table = _table(post)
        self.boundary = boundary_of(post)
        self.attempts = Attempts(post.attempts, self.limits.max_row_attempts)
        self.notes = Notes(post.work)
        self.worked, self._doing, self._is_over = self.notes.worked, "waited", False
        self._stack = None
        if self.notes.place.worker:  # a process of its own, whose crash is its own
            self._stack = self.notes.stack.open("w")
            faulthandler.enable(self._stack)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """What becomes of a batch, as it comes.

        Args:
            table: rows, as `boundary_of` has them.
        """
        start = time.perf_counter()
        rows = self.boundary.to_rows(table)
        self.worked.in_seconds += time.perf_counter() - start
        self.worked.bytes_in += table.nbytes
        self.worked.rows_in += len(rows)
        self.worked.batches += 1
        self._tell(f"was in {' or '.join(self.post.stages)} with {_named(rows)}")
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
        self._tell("waited")

    def _leaving(self, rows: list[Row]) -> pa.Table:
        start = time.perf_counter()
        made = self.boundary.to_arrow(rows)
        self.worked.out_seconds += time.perf_counter() - start
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
        if not self.post.reads:
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
            with deadline(self.limits.row_timeout_s, self._stack):
                done = next(made, None)
            self.worked.seconds += time.perf_counter() - start
            if done is None:
                return
            yield done

    def _run(self, rows: list[Row]) -> Iterator[list[Row]]:
        if not self.post.reads:
            # In order, so that tables are the same however rows overtook each other.
            names, batch = self.post.stages, self.post.settings.batch
            times = self.worked.stage_seconds
            yield from through(self.stages, names, rows, batch, times, in_order=True)
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

    def close(self) -> None:
        """Finish what the stages left open; nothing comes after it."""
        if not self._is_over:
            self._is_over = True
            for stage in self.stages.values():
                stage.close()
            with suppress(FileNotFoundError):  # the driver was faster, and took the notes away
                self._tell("was done", is_over=True)

    def __del__(self) -> None:
        # What Ray Data has instead of closing: it drops the object where its process ends in order.
        if hasattr(self, "notes"):  # else it never began
            self.close()

    def _tell(self, doing: str | None = None, is_over: bool = False) -> None:
        self._doing = doing or self._doing
        if self.table is not None:
            traffic = self.table.traffic
            self.worked.ple_rows, self.worked.ple_moved = traffic.rows, traffic.moved
            self.worked.ple_bytes, self.worked.ple_seconds = traffic.bytes, traffic.wait_seconds
        if self.post.decodes_in_part and self.post.pool != ESCALATE:
            # A row comes out of `decode` once, and the second pool counts it.
            self.worked.stage_seconds.rows.pop("decode", None)
        counts = {name: dict(stage.counts()) for name, stage in self.stages.items()}
        self.worked.counts = {name: one for name, one in counts.items() if one}
        self.notes.tell(self._doing, is_over)


def _named(rows: Sequence[Row]) -> str:
    """Rows, for the log."""
    first, *others = rows
    return f"{first['item']!r}" + (f" and {len(others)} more" if others else "")


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
    if noted(note) >= most:
        raise RuntimeError(
            f"{most} processes of pool {post.pool} have ended while they were starting: no memory "
            f"for {' and '.join(post.stages)}, or a crash."
        )
    with note.open("ab") as file:
        file.write(b".")
    yield
    note.unlink(missing_ok=True)


def _stage(name: str, post: Post) -> Stage:
    if name == "decode" and post.decodes_in_part:
        return decoder(post.job, post.load, post.pool)
    return build_stage(name, post.job, post.load, post.folder)


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
