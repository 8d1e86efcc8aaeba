"""A process of a pool, without Ray: what it makes of batches, and what it leaves when it dies."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from gemma3n.errors import InputError, SettingsError
from pipelines.pool_notes import notes, together
from pipelines.pool_worker import DONE, PoolWorker, boundary_of
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
    """Makes segments of an item, unless the work refuses."""

    expands: ClassVar[bool] = True

    def __init__(self, work: Callable[[Row], Any], segments: int = 3) -> None:
        super().__init__(work)
        self.segments = segments

    def expand(self, row: Row) -> Iterator[Row]:
        for segment in range(self.segments):
            self.work(row)
            made = Row(segment=segment, last=segment + 1 == self.segments)
            yield row | made | Row(waveforms=[np.ones(4, np.float32)])


class Crash(BaseException):
    """Stands for the end of the process."""


def passes(row: Row) -> None:
    """Nothing to do."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PoolWorker]:
    def make(batch: int = 2, attempts: int = 3, **stages: Stage) -> PoolWorker:
        monkeypatch.setattr("pipelines.pool_worker.build_stage", lambda name, *_: stages[name])
        monkeypatch.setattr("pipelines.pool_worker.stage_class", lambda name: type(stages[name]))
        job = PathJob(job="test", path=list(stages))
        job.executor.max_row_attempts = attempts
        job.executor.pools.read.batch = batch
        post = Post("read", tuple(stages), job, LOAD, tmp_path, "run")
        post.attempts.mkdir(parents=True, exist_ok=True)
        return PoolWorker(post)

    return make


def tables(worker: PoolWorker, rows: list[Any]) -> list[list[Row]]:
    return list(map(worker.boundary.to_rows, worker(worker.boundary.to_arrow(rows))))


def go(worker: PoolWorker, rows: list[Any]) -> list[Row]:
    return [row for made in tables(worker, rows) for row in made]


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
    rows: list[Any] = [{**light_row("a"), DONE: [1]}, *listed("b")]
    made = tables(start(read=Reads(passes), mel=Works(passes)), rows)
    assert [[(row["item"], row["segment"]) for row in some] for some in made] == [
        [("a", 0), ("a", 2)],
        [("b", 0), ("b", 1)],
        [("b", 2)],
    ]
    assert all(DONE not in row for some in made for row in some)


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


class Slots(Works):
    """Has `batch` slots; of the rows in them, the one that came last is done first."""

    streams: ClassVar[bool] = True
    most = 0  # rows that were in them at once

    def stream(self, rows: Iterator[Row], batch: int) -> Iterator[tuple[Row, InputError | None]]:
        held = list(islice(rows, batch))
        while held:
            self.most = max(self.most, len(held))
            row = held.pop()
            try:
                self.work(row)
            except InputError as error:
                yield row, error
            else:
                yield row, None
            held += islice(rows, batch - len(held))


def test_a_call_of_several_batches_refills_slots_and_keeps_the_order(start: Any) -> None:
    def refuse(row: Row) -> None:
        if row["item"] == "b":
            raise InputError("no")
        row["text"] = row["item"].upper()

    stage = Slots(refuse)
    rows = [light_row(name) for name in "abcde"]
    rows[3]["text"] = "before"
    made = tables(start(mel=Works(passes), answer=stage), [*rows, rows[0]])
    assert [[row["item"] for row in some] for some in made] == [[*"ab"], [*"cd"], [*"ea"]]
    found = [row.get("text") for some in made for row in some]
    assert found == ["A", None, "C", "before", "E", "A"]
    assert made[0][1]["error"] == {"stage": "answer", "message": "no"}
    assert stage.most == 2


def test_a_deadly_row_among_slots_that_refill_fails_alone(start: Any) -> None:
    def deadly(row: Row) -> None:
        if row["item"] == "d":
            raise Crash
        row["text"] = "x"

    rows = [light_row(name) for name in "abcdefg"]
    for _ in range(3):
        with pytest.raises(Crash):
            go(start(answer=Slots(deadly)), rows)
    done = go(start(answer=Slots(deadly)), rows)
    assert [row["item"] for row in done] == [*"abcdefg"]
    assert [row.get("text") for row in done] == [*"xxx", None, *"xxx"]


def test_tables_with_slots_that_refill_are_the_same_after_a_death(start: Any) -> None:
    def dies(row: Row) -> None:
        if row["item"] == "e":
            raise Crash

    rows = [light_row(name) for name in "abcdefg"]
    kept = tables(start(answer=Slots(passes)), rows)
    with pytest.raises(Crash):
        tables(start(answer=Slots(dies)), rows)
    again = tables(start(answer=Slots(passes)), rows)  # one by one this time
    assert [[row["item"] for row in some] for some in again] == [
        [row["item"] for row in some] for some in kept
    ]


def deadly_at(item: str, segment: int) -> Callable[[Row], None]:
    """Ends the process at a segment of an item."""
    seen: Counter[str] = Counter()

    def read(row: Row) -> None:
        if row["item"] == item and seen[item] == segment:
            raise Crash
        seen[row["item"]] += 1

    return read


def test_a_deadly_item_of_the_source_costs_the_others_nothing(start: Any) -> None:
    for _ in range(3):
        with pytest.raises(Crash):
            go(start(read=Reads(deadly_at("a", 0))), listed("a", "b"))
    failed, *others = go(start(read=Reads(deadly_at("a", 0))), listed("a", "b"))
    assert failed["error"] is not None
    assert (failed["item"], failed["segment"], failed["last"]) == ("a", 0, True)
    assert [row["item"] for row in others] == ["b"] * 3


@pytest.mark.parametrize(("done", "failed"), [([], 2), ([1], 3), ([0], 2), ([2], 3)])
def test_of_a_long_item_what_left_before_it_was_deadly_stays(
    start: Any, done: list[int], failed: int
) -> None:
    # Of a its third segment is deadly, or with one done before its fourth.
    deadly = 3 if done in ([1], [2]) else 2
    rows: list[Any] = [*listed("b"), {**light_row("a"), DONE: done}]
    for _ in range(4):
        left: list[Row] = []
        worker = start(read=Reads(deadly_at("a", deadly), segments=5), batch=1)
        try:
            for table in worker(worker.boundary.to_arrow(rows)):
                left += worker.boundary.to_rows(table)
        except Crash:
            handed_on = list(left)
            continue
    keys = [[(row["item"], row["segment"]) for row in some] for some in (handed_on, left)]
    assert keys[1][:-1] == keys[0]
    assert left[-1]["error"] is not None
    assert (left[-1]["item"], left[-1]["segment"], left[-1]["last"]) == ("a", failed, True)


def test_a_deadly_segment_in_the_midst_is_not_the_last(start: Any) -> None:
    def deadly(row: Row) -> None:
        if row["segment"] == 1:
            raise Crash

    rows = [light_row("a") | Row(segment=n, last=n == 2) for n in range(3)]
    for _ in range(3):
        with pytest.raises(Crash):
            go(start(mel=Works(deadly), batch=3), rows)
    done = go(start(mel=Works(deadly), batch=3), rows)
    assert [(row["segment"], row["last"], bool(row["error"])) for row in done] == [
        (0, False, False),
        (1, False, True),
        (2, True, False),
    ]


def test_tables_are_the_same_after_a_death_as_without_one(start: Any) -> None:
    def dies(row: Row) -> None:
        if row["item"] == "c":
            raise Crash

    plain = [light_row(name) for name in "abcd"]
    for stages, rows in (({"mel": Works}, plain), ({"read": Reads}, listed(*"abcd"))):
        undisturbed = tables(start(**{name: kind(passes) for name, kind in stages.items()}), rows)
        for _ in range(2):
            with pytest.raises(Crash):
                tables(start(**{name: kind(dies) for name, kind in stages.items()}), rows)
        again = tables(start(**{name: kind(passes) for name, kind in stages.items()}), rows)
        keys = [
            [[(row["item"], row["segment"]) for row in some] for some in made]
            for made in (undisturbed, again)
        ]
        assert keys[0] == keys[1]


def test_a_row_that_failed_is_written_where_its_pool_writes(start: Any) -> None:
    class Writes(Works):
        sees_errors: ClassVar[bool] = True

    written: list[str] = []
    write = Writes(lambda row: written.append(row["item"]))

    def deadly(row: Row) -> None:
        raise Crash

    for _ in range(3):
        with pytest.raises(Crash):
            go(start(check=Works(deadly), write=write), [light_row("a")])
    (failed,) = go(start(check=Works(deadly), write=write), [light_row("a")])
    assert failed["error"] is not None
    assert written == ["a"]


def test_processes_that_die_as_they_start_are_not_started_for_ever(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start(mel=Works(passes))  # one that lives leaves no note

    def crash(*_: Any) -> Stage:
        raise Crash

    monkeypatch.setattr("pipelines.pool_worker.build_stage", crash)
    most = worker.limits.max_row_attempts * worker.post.settings.max
    for _ in range(most):
        with pytest.raises(Crash):
            PoolWorker(worker.post)
    with pytest.raises(RuntimeError, match=rf"{most} processes of pool read have ended while they"):
        PoolWorker(worker.post)


def test_a_node_that_does_not_share_the_folder_of_the_run_says_so(start: Any) -> None:
    worker = start(mel=Works(passes))
    elsewhere = replace(worker.post, folder=worker.post.folder / "other")
    with pytest.raises(
        SettingsError, match=r"other' on .* is not the folder that the run was start"
    ):
        PoolWorker(elsewhere)


def test_stages_are_closed_once_where_their_process_ends_in_order(start: Any) -> None:
    class Closes(Works):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    stage = Closes(passes)
    worker = start(mel=stage)
    go(worker, [light_row("a")])
    assert [note.over for note in notes(worker.post.work)] == [False]
    worker.close()
    folder = worker.post.work
    del worker
    assert stage.closed == 1
    assert [note.over for note in notes(folder)] == [True]


def test_what_a_process_does_is_noted_before_it_does_it(start: Any) -> None:
    seen: list[str] = []
    worker: PoolWorker

    def look(row: Row) -> None:
        seen.extend(note.doing for note in notes(worker.post.work))

    worker = start(mel=Works(look))
    go(worker, [light_row("a"), light_row("b")])
    assert seen == ["was in mel with 'a' and 1 more"] * 2
    assert [note.doing for note in notes(worker.post.work)] == ["waited"]


def test_what_all_processes_of_a_pool_did_is_summed_up(start: Any) -> None:
    class Counts(Works):
        def counts(self) -> Counter[str]:
            return Counter({"looked at": 5})

    for _ in range(2):
        worker = start(mel=Counts(passes))
        go(worker, [light_row(name) for name in "abc"])
    some = list(notes(worker.post.work))
    did = together(some)
    assert (len(some), did.rows_in, did.rows, did.batches) == (2, 6, 6, 2)
    assert did.stage_seconds.keys() == {"mel"}
    assert did.stage_seconds.rows == did.stage_rows == {"mel": 6}
    assert did.counts == {"mel": {"looked at": 10}}
    assert min(did.bytes_in, did.bytes_out, did.peak_rss_bytes) > 0
    assert did.seconds >= did.stage_seconds["mel"] > 0


def test_columns_of_a_stage_of_ones_own_travel(tmp_path: Path, monkeypatch: Any) -> None:
    class Louder(Works):
        types: ClassVar[dict[str, Any]] = {"loudness": float}

    monkeypatch.setattr("pipelines.pool_worker.stage_class", lambda name: Louder)
    boundary = boundary_of(Post("read", ("x",), PathJob(job="t", path=["x"]), LOAD, tmp_path, ""))
    row: Any = light_row("a") | {"loudness": 0.5}
    assert boundary.to_rows(boundary.to_arrow([row])) == [row]
