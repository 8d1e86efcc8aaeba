from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.nano.steps import Step, Work, do, read_lines, spread, stamp, write_lines


def test_a_finished_step_is_not_done_again(tmp_path: Path) -> None:
    runs = []

    def lines(work: Work) -> Iterator[dict[str, Any] | str]:
        runs.append(work)
        yield {"id": "a", "seconds": 1.0}
        yield "too long"

    work = Work(tmp_path)
    step = Step("step", lines)
    do(step, work)
    do(step, work)
    assert len(runs) == 1
    assert read_lines(stamp(work, "step")) == [{"id": "a", "seconds": 1.0}]


def test_a_step_that_dies_leaves_no_stamp(tmp_path: Path) -> None:
    def lines(work: Work) -> Iterator[dict[str, Any] | str]:
        yield {"id": "a"}
        raise KeyboardInterrupt

    work = Work(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        do(Step("step", lines), work)
    assert not stamp(work, "step").exists()


def test_the_log_tells_what_was_dropped_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lines(work: Work) -> Iterator[dict[str, Any] | str]:
        yield from ({"id": "a", "seconds": 3600.0}, "too long", "too long")

    with caplog.at_level("INFO"):
        do(Step("step", lines), Work(tmp_path))
    assert "step: 1 lines, 1.00 h of speech, in" in caplog.text
    assert "dropped: 2 too long" in caplog.text


def test_a_small_share_makes_at_least_one_of_everything(tmp_path: Path) -> None:
    assert Work(tmp_path).amount(900) == 900
    assert Work(tmp_path, share=0.05).amount(900) == 45
    assert Work(tmp_path, share=0.05).amount(3) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_order(tmp_path: Path, workers: int) -> None:
    assert list(spread(Work(tmp_path, workers), abs, range(-20, 0))) == list(range(20, 0, -1))


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [{"text": "i'm sorry"}, {"text": "één"}]
    write_lines(tmp_path / "deep" / "a.jsonl", lines)
    assert read_lines(tmp_path / "deep" / "a.jsonl") == lines
    assert read_lines(tmp_path / "no.jsonl") == []
