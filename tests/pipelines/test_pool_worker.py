"""A process of a pool, without Ray: what it makes of batches, and what it leaves when it dies."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from gemma3n.errors import InputError
from pipelines.pool_worker import DONE, PoolWorker, boundary_of, worked
from pipelines.pools import Post
from pipelines.settings import PathJob
from stages.model import Load
from stages.row import Row, Stage, light_row

LOAD = Load(folder="nowhere")


class Works(Stage):
    """Does something to each row."""

    def __init__(self, work: Callable[[Row], Any]) -> None:
        self.work = work

    def __call__(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            self.work(row)
        return rows


class Reads(Works):
    """Makes three segments of an item, unless the work refuses."""

    expands: ClassVar[bool] = True

    def expand(self, row: Row) -> Iterator[Row]:
        for segment in range(3):
            self.work(row)
            yield row | Row(segment=segment, last=segment == 2, waveforms=[np.ones(4, np.float32)])


class Crash(BaseException):
    """Stands for the end of the process."""


def passes(row: Row) -> None:
    """Nothing to do."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PoolWorker]:
    def make(batch: int = 2, attempts: int = 3, **stages: Stage) -> PoolWorker:
        monkeypatch.setattr("pipelines.pool_worker.build_stage", lambda name, *_: stages[name])
        job = PathJob(job="test", path=list(stages))
        job.executor.max_row_attempts = attempts
        job.executor.pools.read.batch = batch
        return PoolWorker(Post("read", tuple(stages), job, LOAD, tmp_path))

    return make


def go(worker: PoolWorker, rows: list[Any]) -> list[Row]:
    table = worker.boundary.to_arrow(rows)
    return [row for made in worker(table) for row in worker.boundary.to_rows(made)]


def listed(*names: str) -> list[Any]:
    return [{**light_row(name), DONE: []} for name in names]


def test_rows_go_through_the_stages_and_a_bad_one_is_marked(start: Any) -> None:
    def refuse(row: Row) -> None:
        if row["item"] == "b":
            raise InputError("no")
        row["text"] = row["item"].upper()

    rows = go(start(mel=Works(refuse)), [light_row(name) for name in "abc"])
    assert [row.get("text") for row in rows] == ["A", None, "C"]
    assert rows[1]["error"] == {"stage": "mel", "message": "no"}


def test_segments_leave_as_they_are_read_and_finished_ones_are_left_out(start: Any) -> None:
    worker = start(read=Reads(passes), mel=Works(passes))
    rows: list[Any] = [{**light_row("a"), DONE: [1]}, *listed("b")]
    tables = list(worker(worker.boundary.to_arrow(rows)))
    assert [table.num_rows for table in tables] == [2, 2, 1]
    made = [row for table in tables for row in worker.boundary.to_rows(table)]
    assert [(row["item"], row["segment"]) for row in made] == [
        *(("a", 0), ("a", 2)),
        *(("b", 0), ("b", 1), ("b", 2)),
    ]
    assert all(DONE not in row for row in made)


def test_a_row_that_ends_its_process_fails_alone_and_in_the_end(start: Any) -> None:
    touched: list[str] = []

    def deadly(row: Row) -> None:
        touched.append(row["item"])
        if row["item"] == "b":
            raise Crash
        row["text"] = "x"

    rows = [light_row(name) for name in "abc"]
    for _ in range(3):  # the batch, then b alone
        with pytest.raises(Crash):
            go(start(mel=Works(deadly)), rows)
    done = go(start(mel=Works(deadly)), rows)
    assert touched == [*"ab", *"ab", *"ab", *"ac"]
    assert [row.get("text") for row in done] == ["x", None, "x"]
    assert done[1]["error"] is not None
    assert done[1]["error"]["stage"] == "mel"
    assert "its process ended 3 times while it was in mel" in done[1]["error"]["message"]
    assert [row.get("text") for row in go(start(mel=Works(passes)), rows[:1])] == [None]


def test_a_deadly_item_of_the_source_costs_the_others_nothing(start: Any) -> None:
    def deadly(row: Row) -> None:
        if row["item"] == "a":
            raise Crash

    for _ in range(3):
        with pytest.raises(Crash):
            go(start(read=Reads(deadly)), listed("a", "b"))
    failed, *others = go(start(read=Reads(deadly)), listed("a", "b"))
    assert failed["error"] is not None
    assert (failed["item"], failed["last"]) == ("a", True)
    assert [row["item"] for row in others] == ["b"] * 3


def test_what_all_processes_of_a_pool_did_is_summed_up(start: Any) -> None:
    for _ in range(2):
        worker = start(mel=Works(passes))
        go(worker, [light_row(name) for name in "abc"])
    processes, did = worked(worker.post)
    assert (processes, did.rows, did.batches) == (2, 6, 2)
    assert did.stage_seconds.keys() == {"mel"}
    assert min(did.bytes_in, did.bytes_out, did.peak_rss_bytes) > 0
    assert did.seconds >= did.stage_seconds["mel"] > 0


def test_columns_of_a_stage_of_ones_own_travel(tmp_path: Path, monkeypatch: Any) -> None:
    class Louder(Works):
        types: ClassVar[dict[str, Any]] = {"loudness": float}

    monkeypatch.setattr("pipelines.pool_worker.stage_class", lambda name: Louder)
    boundary = boundary_of(Post("read", ("x",), PathJob(job="t", path=["x"]), LOAD, tmp_path))
    row: Any = light_row("a") | {"loudness": 0.5}
    assert boundary.to_rows(boundary.to_arrow([row])) == [row]
