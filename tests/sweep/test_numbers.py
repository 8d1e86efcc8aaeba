"""What the folders of runs tell, and the table of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.sweep.index import Entry, Index
from pipelines.sweep.numbers import count_new, results
from pipelines.sweep.table import errors_of, table_of


def summary(folder: Path, version: int, **numbers: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    path.write_text(json.dumps({"seconds": 2.0, "peak_rss_bytes": 7} | numbers))
    os.utime(path, ns=(version, version))


def entry(**numbers: Any) -> Entry:
    return Entry("a", "a", {"x": "1"}, [], **numbers)


def shown(index: Index) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table_of(index))
    return capture.get()


def test_times_that_a_run_was_at_work_add_up_and_each_counts_once(tmp_path: Path) -> None:
    one = entry()
    summary(tmp_path, 1, items=3, earlier=0, new_tokens=8, peak_rss_bytes=9)
    count_new(one, tmp_path)
    count_new(one, tmp_path)
    summary(tmp_path, 2, items=5, earlier=3, new_tokens=0)
    (tmp_path / "failures.jsonl").write_text("{}\n{}\n")
    count_new(one, tmp_path)
    (row,) = results(tmp_path, one.done)
    assert (row["items"], row["failed"], row["seconds"]) == (8, 2, 4.0)
    assert (row["items_per_s"], row["tokens_per_s"], row["audio_per_s"]) == (2.0, 2.0, None)
    assert (row["peak_rss_bytes"], row["size"], row["scores"]) == (9, None, {})


def test_an_evaluation_has_a_row_each_size_with_the_scores_of_all_rows(tmp_path: Path) -> None:
    for size, items in (("full", 2), ("small", 4)):
        summary(tmp_path / size, 1, items=items)
    value = {"value": 0.5, "low": 0.25, "high": 0.75}
    other = {"value": 0.0, "low": None, "high": None}
    scores = {
        "task": "caption",
        "shown": {"exact": "exact %"},
        "runs": {"small": {}, "full": {}},
        "sets": {
            "all rows": {
                "full": {"scores": {"wer": other, "exact": value}},
                "small": {"scores": {"wer": other, "exact": other}},
            },
            "a": {},
        },
    }
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    one = entry(code=0)
    count_new(one, tmp_path)
    one.results = results(tmp_path, one.done)
    assert [(row["size"], row["items_per_s"]) for row in one.results] == [
        ("small", 2.0),
        ("full", 1.0),
    ]
    assert [row["scores"]["exact"] for row in one.results] == [other, value]
    assert [row["shown"] for row in one.results] == [["exact"], ["exact"]]
    lines = shown(Index("evaluate", "", {"x": ["1"]}, [one])).splitlines()
    (full,) = (line for line in lines if "full" in line)
    assert "50.0 [25.0 75.0]" in full
    assert "WER" not in "".join(lines)


def test_a_run_without_results_has_a_row_and_its_reason(tmp_path: Path) -> None:
    index = Index(
        "caption",
        "",
        {"prompt": ["a\x1b[31m", "b"]},
        [
            Entry("one", "one", {"prompt": "a\x1b[31m"}, [], code=2, error="no\x1b[31m such"),
            Entry("two", "two", {"prompt": "b"}, []),
            Entry("three", "three", {"prompt": "c"}, [], code=130),
        ],
    )
    text = shown(index)
    assert "\x1b" not in text
    assert r"a\x1b[31m" in text
    assert "not begun" in text
    assert "interrupted" in text
    assert errors_of(index) == [r"one: no\x1b[31m such"]


@pytest.mark.parametrize(("seconds", "cell"), [(123.4, "123"), (12.34, "12.3"), (1.234, "1.23")])
def test_numbers_have_three_digits(seconds: float, cell: str) -> None:
    one = entry(results=[{"seconds": seconds, "items": 1, "failed": 0}])
    assert f" {cell} " in shown(Index("caption", "", {"x": ["1"]}, [one]))


def test_hits_of_the_cache_are_told_where_its_size_differs(tmp_path: Path) -> None:
    summary(tmp_path, 1, items=3, ple={"hit_rate": 0.1234})
    one = entry()
    count_new(one, tmp_path)
    one.results = results(tmp_path, one.done)
    assert " 12.3 " in shown(Index("caption", "", {"ple.cache_rows": ["0"]}, [one]))
    assert "hits" not in shown(Index("caption", "", {"x": ["0"]}, [one]))
