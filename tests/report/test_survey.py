from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.survey import Pick, Shown, survey

Make = Callable[..., Any]


def shown(number: int) -> Shown:
    return Shown(str(number), 0, None, None, "", None, None, "", "", "", None)


@given(
    badness=st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=40),
    worst=st.integers(0, 4),
    some=st.integers(0, 5),
    seed=st.integers(0, 3),
)
def test_the_worst_are_picked_and_as_many_others_as_there_are_each_once(
    badness: list[int | None], worst: int, some: int, seed: int
) -> None:
    pick = Pick(worst, some, seed)
    for number, bad in enumerate(badness):
        pick.offer(shown(number), None if bad is None else (float(bad),))
    bad_ones = [int(row.item) for row in pick.worst()]
    others = [int(row.item) for row in pick.drawn()]
    known = [(-bad, n) for n, bad in enumerate(badness) if bad is not None]
    assert bad_ones == [n for _, n in sorted(known)][:worst]
    assert len(others) == min(some, len(badness) - len(bad_ones))
    assert len({*bad_ones, *others}) == len(bad_ones) + len(others)
    assert others == sorted(others)


def test_every_row_may_be_drawn() -> None:
    found = set()
    for seed in range(200):
        pick = Pick(0, 1, seed)
        for number in range(9):
            pick.offer(shown(number), None)
        found.add(pick.drawn()[0].item)
    assert found == set("012345678")


def test_errors_that_differ_in_names_and_numbers_only_are_one_kind(
    make_run: Make, result: Make
) -> None:
    rows = [result(f"{n}.wav", None) for n in range(5)]
    rows.append(result("z", None, error={"stage": "fuse", "message": "too long by 17 tokens"}))
    rows.append(result("y", None, error={"stage": "fuse", "message": "too long by 9 tokens"}))
    found = survey(make_run(rows), "transcribe", 1, 1, 0)
    kinds = [(one.stage, one.count, one.items) for one in found.failures.values()]
    assert kinds == [("read", 5, ["0.wav", "1.wav", "2.wav"]), ("fuse", 2, ["z", "y"])]
    assert (found.items, found.rows, found.failed) == (7, 7, 7)
    assert not found.worst
    assert not found.random


def test_rows_with_references_are_scored_and_those_with_errors_are_the_worst(
    make_run: Make,
    result: Make,
) -> None:
    rows = [
        result("right", "one two", reference="One, two."),
        result("half", "one three", reference="one two"),
        result("wrong", "three four five", reference="one two"),
        result("failed", None, reference="one two"),
    ]
    found = survey(make_run(rows), "transcribe", 5, 5, 0)
    assert [row.item for row in found.worst] == ["wrong", "half"]
    assert [row.item for row in found.random] == ["right"]
    assert found.quality is not None
    assert found.quality.overall().value == (0 + 1 + 3 + 2) / 8


def test_without_references_the_least_sure_segments_come_first(
    make_run: Make, result: Make
) -> None:
    rows = [
        result("a", "x", segment=0, last=False, logprob=-3.0, start_s=0.0, end_s=4.0),
        result("a", "y", segment=1, logprob=-0.1, start_s=4.0, end_s=9.0),
        result("b", "z", logprob=-1.0),
        result("silent", "", logprob=None),
    ]
    found = survey(make_run(rows), "transcribe", 2, 9, 0)
    assert [(row.item, row.segment) for row in found.worst] == [("a", 0), ("b", 0)]
    assert [(row.item, row.segment) for row in found.random] == [("a", 1), ("silent", 0)]
    assert found.quality is None
    assert found.audio_s == 4.0


def test_pictures_are_scored_by_the_words_that_are_shared(make_run: Make, result: Make) -> None:
    rows = [
        result("a", "a red apple", reference="a red apple"),
        result("b", "a cow", reference="a horse"),
    ]
    found = survey(make_run(rows, job="caption"), "caption", 5, 5, 0)
    assert found.quality is not None
    assert found.quality.overall().value == 0.75
    assert [row.item for row in found.worst] == ["b"]


def test_a_broken_part_is_told_and_the_others_count(make_run: Make, result: Make) -> None:
    folder = make_run([result("a")])
    (folder / "results/part-0-broken.parquet").write_bytes(b"PAR1 and no more")
    found = survey(folder, "transcribe", 1, 1, 0)
    assert found.items == 1
    assert len(found.unreadable) == 1
    assert "part-0-broken.parquet" in found.unreadable[0]
    assert "Delete it, and the same command makes up for what it held." in found.unreadable[0]


def test_items_whose_last_segment_is_missing_are_counted_apart(
    make_run: Make, result: Make, tmp_path: Path
) -> None:
    found = survey(make_run([result("a"), result("b", last=False)]), "transcribe", 1, 1, 0)
    assert (found.items, found.incomplete) == (1, 1)
