import json
from pathlib import Path

import pytest

from pipelines import bench_linear
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


def test_a_bench_of_linear_maps_has_every_route_at_every_number_of_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_linear, "_SHAPE", (64, 64))
    monkeypatch.setattr(bench_linear, "_READ", 1 << 16)
    assert main(["bench", "what=linear", "rows=[1,3]", "megabytes=1", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["rows"] == [1, 3]
    for run in found["runs"]:
        assert run["memory read, GB/s"] > 0
        for route in ("bfloat16", *bench_linear._routes()):
            assert run[f"{route}, 1 rows, GB/s"] > 0
            assert run[f"{route}, 3 rows, µs"] > 0


def test_a_bench_of_no_checkpoint_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "model=absent"]) == 2
    assert "model folder 'absent' does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "figures"),
    [
        ("read", {"times real time"}),
        ("resize", {"pictures/s", "pictures/s, Pillow", "ours to Pillow"}),
    ],
)
def test_a_bench_of_files_reads_all_of_them(
    capsys: pytest.CaptureFixture[str], what: str, figures: set[str]
) -> None:
    assert main(["bench", f"what={what}", "files=3", "repeat=2", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["files"] == 3
    assert [set(run) for run in found["runs"]] == [figures] * 2
    assert all(value > 0 for run in found["runs"] for value in run.values())


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("repeat=0", "repeat=0; at least 1."),
        ("files=0", "files=0; at least 1."),
        ("rows=[0]", "rows=[0]; give at least one number, each at least 1."),
        ("new_tokens=0", "new_tokens=0; at least 1."),
        ("prompt_tokens=0", "prompt_tokens=0; at least 1."),
        ("prompt_tokens=2040", "prompt_tokens and new_tokens: 2104 tokens a row, but this"),
        ("nested.layers=[99]", "nested layers [99]"),
        ("nested.budget_gb=0.0000001", "a run of the bench failed: nested.budget_gb=1e-07, but"),
    ],
)
def test_a_bench_that_cannot_be_is_refused_in_one_line(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], word: str, why: str
) -> None:
    assert main(["bench", f"model={checkpoint_folder}", word]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1


def test_a_bench_measures_the_size_of_layers_and_widths(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model={checkpoint_folder}", "nested.widths=3", "new_tokens=2", "repeat=1"]
    assert main(["bench", *words, "json=true"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["size"] == "widths=3"
