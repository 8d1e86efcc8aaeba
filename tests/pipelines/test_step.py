from collections.abc import Iterator
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.errors import InputError
from pipelines.step import StageTimes, run_step, stream_step
from stages.model import Load
from stages.row import HEAVY, Error, Row, Stage


class Double(Stage):
    """Doubles `new_tokens`; refuses negative ones."""

    def __init__(self) -> None:
        super().__init__(None, Load(folder="nowhere"))
        self.batches: list[int] = []

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.batches.append(len(rows))
        for row in rows:
            row.pop("mels", None)
            if row["new_tokens"] < 0:
                raise InputError(f"{row['new_tokens']} is below 0; give more")
            row["new_tokens"] *= 2
        return rows


class Split(Double):
    """Makes as many segments of a row as it has `new_tokens`."""

    expands: ClassVar[bool] = True

    def __call__(self, rows: list[Row]) -> list[Row]:
        super().__call__(rows)
        return [{**row, "segment": n} for row in rows for n in range(row["new_tokens"] // 2)]


def row(number: int, error: Error | None = None) -> Row:
    mel = np.zeros((2, 3), np.float32)
    return Row(item=str(number), new_tokens=number, mels=[mel], error=error)


def test_good_rows_are_done_in_one_batch() -> None:
    stage = Double()
    assert [r["new_tokens"] for r in run_step(stage, "double", [row(1), row(2)])] == [2, 4]
    assert stage.batches == [2]


def test_exactly_the_bad_rows_are_marked_with_stage_and_message() -> None:
    rows = run_step(Double(), "double", [row(1), row(-2), row(3)])
    assert [r["item"] for r in rows] == ["1", "-2", "3"]
    assert [r["new_tokens"] for r in rows] == [2, -2, 6]
    assert [r["error"] for r in rows] == [
        None,
        {"stage": "double", "message": "-2 is below 0; give more"},
        None,
    ]


def test_a_failed_row_keeps_no_heavy_columns() -> None:
    (failed,) = run_step(Double(), "double", [row(-1)])
    assert not set(HEAVY) & set(failed)


def test_failed_rows_are_stepped_over_and_keep_their_place() -> None:
    stage = Double()
    error: Error = {"stage": "read", "message": "no such file"}
    rows = [row(1), row(-2, error), row(3)]
    done = run_step(stage, "double", rows)
    assert done[1] is rows[1]
    assert [r["new_tokens"] for r in done] == [2, -2, 6]
    assert stage.batches == [2]


def test_a_stage_that_sees_errors_gets_every_row() -> None:
    stage = Double()
    stage.sees_errors = True  # type: ignore[misc]
    error: Error = {"stage": "read", "message": "no such file"}
    run_step(stage, "write", [row(1), row(2, error)])
    assert stage.batches == [2]


def test_the_rows_that_were_given_are_not_changed() -> None:
    given_rows = [row(1), row(-2)]
    run_step(Double(), "double", given_rows)
    assert [(r["new_tokens"], "mels" in r, r["error"]) for r in given_rows] == [
        (1, True, None),
        (-2, True, None),
    ]


def test_a_row_may_become_several_in_its_place_or_none_but_the_bad_one_stays_one() -> None:
    rows = run_step(Split(), "read", [row(2), row(-1), row(0), row(3)])
    assert [(r["item"], r.get("segment")) for r in rows] == [
        ("2", 0),
        ("2", 1),
        ("-1", 0),
        ("3", 0),
        ("3", 1),
        ("3", 2),
    ]


def test_a_stage_that_expands_gets_one_row_at_a_time() -> None:
    stage = Split()
    rows = run_step(stage, "read", [row(2), row(0), row(1)])
    assert [r["item"] for r in rows] == ["2", "2", "1"]
    assert stage.batches == [1, 1, 1]


def test_an_error_in_the_middle_of_an_item_is_its_last_segment() -> None:
    class Breaks(Double):
        expands: ClassVar[bool] = True

        def expand(self, row: Row) -> Iterator[Row]:
            yield {**row, "segment": 0, "last": False}
            yield {**row, "segment": 1, "last": False}
            raise InputError("broken from here")

    rows = run_step(Breaks(), "read", [row(2)])
    assert [(r["segment"], r["last"], bool(r.get("error"))) for r in rows] == [
        (0, False, False),
        (1, False, False),
        (2, True, True),
    ]


def test_a_bug_of_a_stage_is_not_an_error_row() -> None:
    with pytest.raises(KeyError):
        run_step(Double(), "double", [Row(item="a")])


@pytest.mark.parametrize("count", [1, 2])
def test_a_stage_that_loses_rows_is_a_bug(count: int) -> None:
    class Loses(Double):
        def __call__(self, rows: list[Row]) -> list[Row]:
            return rows[1:]

    with pytest.raises(RuntimeError, match=rf"stage 'loses' got {count} rows and returned"):
        run_step(Loses(), "loses", [row(1), row(2)][:count])


@given(st.lists(st.tuples(st.integers(-2, 3), st.booleans())))
def test_every_row_comes_out_once_in_order_done_or_marked(numbers: list[tuple[int, bool]]) -> None:
    before: Error = {"stage": "read", "message": "earlier"}
    rows = [row(number, before if bad else None) for number, bad in numbers]
    done = run_step(Double(), "double", rows)
    assert [r["item"] for r in done] == [r["item"] for r in rows]
    for (number, bad), result in zip(numbers, done, strict=True):
        error = result["error"]
        assert (error is None) == (number >= 0 and not bad)
        assert result["new_tokens"] == (number * 2 if error is None else number)


class Streamed(Double):
    """Doubles as rows come, so many held at once, the last one first."""

    streams: ClassVar[bool] = True
    most = 0

    def stream(self, rows: Iterator[Row], batch: int) -> Iterator[tuple[Row, InputError | None]]:
        while held := list(islice(rows, batch)):
            self.most = max(self.most, len(held))
            for one in reversed(held):
                try:
                    yield self([one])[0], None
                except InputError as error:
                    yield one, error


@given(numbers=st.lists(st.integers(-3, 3), max_size=12, unique=True), batch=st.integers(1, 4))
def test_a_streaming_stage_makes_of_each_row_what_a_batch_does(
    numbers: list[int], batch: int
) -> None:
    rows = [row(n, {"stage": "x", "message": "y"} if n == 2 else None) for n in numbers]
    stage, times = Streamed(), StageTimes()
    found = list(stream_step(stage, "double", iter(rows), batch, times))
    expected = run_step(Double(), "double", rows)
    assert sorted(found, key=lambda r: r["item"]) == sorted(expected, key=lambda r: r["item"])
    assert stage.most <= batch
    assert times.keys() == {"double"}
    assert times.rows == ({"double": len(rows)} if rows else {})
    assert [r["new_tokens"] for r in rows] == numbers


def test_the_time_to_make_rows_is_not_that_of_the_stage_that_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("pipelines.step.time.perf_counter", lambda: clock[0])

    def slow() -> Iterator[Row]:
        for n in (1, 2, 3):
            clock[0] += 10
            yield row(n)

    times = StageTimes()
    for _ in stream_step(Streamed(), "double", slow(), 2, times):
        pass
    assert clock == [30.0]
    assert times == {"double": 0.0}
