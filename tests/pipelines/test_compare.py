"""Comparison of finished runs; the runs are written here, as `write` would have."""

import json
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines.evaluate import evaluate
from pipelines.exit_code import DONE
from pipelines.score_files import read_rows, read_scores
from pipelines.settings import EvaluateJob
from stages.model import Load
from stages.source import SourceSettings
from stages.write import SinkSettings, Write

RIGHT = ("four zero seven", "two", "nine one", "a cat")


def run(folder: Path, *texts: str | None, job: str = "transcribe", first: int = 0) -> str:
    """A run folder of rows that say `texts`; one that says None failed."""
    rows: list[Any] = [
        {
            "item": str(number),
            "segment": 0,
            "last": True,
            "place": number,
            "image_paths": [],
            "audio_s": 1.5,
            "text": text,
            "new_tokens": 0 if text is None else len(text.split()),
            "logprob": None if text is None else -0.5,
            "reference": RIGHT[number % len(RIGHT)],
            "extra": json.dumps({"set": "odd" if number % 2 else "even"}),
            **({} if text is not None else {"error": {"stage": "read", "message": "gone"}}),
        }
        for number, text in enumerate(texts, start=first)
    ]
    Write(SinkSettings(), Load("nano"), folder)(rows)
    (folder / "config.yaml").write_text(f"# gemma3n {job}\njob: {job}\nmodel: {{path: nano}}\n")
    return str(folder)


def compared(tmp_path: Path, *runs: str, **more: Any) -> int:
    return evaluate(EvaluateJob(compare=[*runs], output=str(tmp_path / "out"), **more))


def test_runs_are_compared_row_by_row_each_with_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = run(tmp_path / "a/full", "four zero seven", "two", "nine", "a cat")
    worse = run(tmp_path / "b/full", "four", "two", "nine one", None)
    assert compared(tmp_path, better, worse) == DONE
    found = read_scores(tmp_path / "out")
    assert found["over"] == "a/full"
    cell = found["sets"]["all rows"]["b/full"]
    assert cell["scores"]["wer"]["value"] == pytest.approx(4 / 8)
    difference = cell["difference"]["wer"]
    assert difference["value"] == pytest.approx(4 / 8 - 1 / 8)
    assert (difference["wins"], difference["losses"], difference["ties"]) == (1, 2, 1)
    assert (cell["failed"], cell["new_tokens"], cell["unpaired"]) == (1, 4, 0)
    assert set(found["sets"]) == {"odd", "even", "all rows"}
    assert len(read_rows(tmp_path / "out")) == 8
    assert found["runs"]["b/full"]["folder"] == worse
    assert "b/full" in capsys.readouterr().out


def test_only_rows_that_both_have_are_in_the_difference(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = run(tmp_path / "a", "four zero seven", "two", "nine one")
    two = run(tmp_path / "b", "two", "x y", "a cat", first=1)
    assert compared(tmp_path, one, two) == DONE
    cell = read_scores(tmp_path / "out")["sets"]["all rows"]["b"]
    assert (cell["rows"], cell["unpaired"]) == (3, 1)
    assert cell["difference"]["wer"]["value"] == pytest.approx(2 / 3)
    assert cell["scores"]["wer"]["value"] == pytest.approx(2 / 5)
    assert "2 are the same" in caplog.text


def test_an_evaluation_of_one_size_stands_for_its_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name / "small", "four", "two")
        (tmp_path / name / "scores.json").write_text('{"runs": {"small": {}}}')
    assert compared(tmp_path, str(tmp_path / "a"), str(tmp_path / "b")) == DONE
    assert set(read_scores(tmp_path / "out")["runs"]) == {"a/small", "b/small"}
    run(tmp_path / "a" / "full", "four")
    (tmp_path / "a/scores.json").write_text('{"runs": {"small": {}, "full": {}}}')
    with pytest.raises(SettingsError, match=r"Name one: .*a/small, .*a/full"):
        compared(tmp_path, str(tmp_path / "a"), str(tmp_path / "b"))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one, far = run(tmp_path / "a", "four"), run(tmp_path / "far", "two", first=99)
    other = run(tmp_path / "bench", "four", job="bench")
    refused: list[tuple[list[str], dict[str, Any], str]] = [
        ([one], {}, "name at least two"),
        ([one, one], {}, "twice"),
        ([one, str(tmp_path / "nowhere")], {}, "is not the folder of a run"),
        ([one, far], {}, "no labelled row in common"),
        ([one, other], {}, "is a run of bench"),
        ([one, far], {"source": SourceSettings(path=["x"])}, "Leave one of the two out"),
        ([one, far], {"calibrate": True}, "runs nothing"),
    ]
    for runs, more, said in refused:
        with pytest.raises(SettingsError, match=said):
            compared(tmp_path, *runs, **more)
    assert not (tmp_path / "out").exists()
