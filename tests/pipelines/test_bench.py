import json
from pathlib import Path

import pytest

from pipelines.cli import main


def test_a_bench_reports_speed_and_memory_of_a_fresh_process(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", f"model={checkpoint_folder}", "precision=float32", "new_tokens=3", "repeat=2"]
    assert main([*words, "json=true"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert len(runs) == 2
    for run in runs:
        assert min(run["load s"], run["first token s"], run["tokens/s"]) > 0
        assert run["RssFile"] + run["RssAnon"] <= run["VmHWM"] * 1.01
        assert run["over core"] == run["VmHWM"] - run["core"]


def test_a_bench_of_no_checkpoint_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "model=absent"]) == 2
    assert "model folder 'absent' does not exist" in capsys.readouterr().err
