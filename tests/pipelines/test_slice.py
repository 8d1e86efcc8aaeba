"""`gemma3n slice` writes one nested size as a checkpoint and says where."""

from pathlib import Path

import pytest

from gemma3n.config import Config
from pipelines.cli import main


def test_a_slice_is_a_checkpoint_and_its_folder_is_printed(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "narrow"
    words = [f"model={checkpoint_folder}", "nested.widths=3", "-o", str(output)]
    assert main(["slice", *words]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    large, small = Config.from_folder(checkpoint_folder), Config.from_folder(output)
    assert small.text.intermediate_size == [3] * large.text.num_hidden_layers
    assert main(["plan", f"model={output}", "sizes=full", "json=true"]) == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "nested=full is the checkpoint itself. Ask for a size inside it: "),
        (["nested.budget_gb=2"], "nested.budget_gb=2 is for loading, but a slice is one size."),
        (["nested=small"], "nested=small is the checkpoint itself. Ask for a size inside it: "),
        (["nested=nope"], "nested='nope', but this checkpoint knows full"),
        (["nested.widths=100000"], "Pick a width that fits"),
    ],
)
def test_a_slice_that_cannot_be_is_refused_before_anything_is_written(
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    why: str,
) -> None:
    output = tmp_path / "out"
    assert main(["slice", f"model={checkpoint_folder}", "-o", str(output), *words]) == 2
    assert why in capsys.readouterr().err
    assert not output.exists()


def test_a_slice_needs_an_output(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["slice", f"model={checkpoint_folder}", "nested=small"]) == 2
    assert "output is not set, and slice needs it" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_never_overwritten(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    words = [f"model={checkpoint_folder}", "nested.widths=3", f"output={tmp_path}"]
    assert main(["slice", *words]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_slice_that_cannot_be_written_is_refused(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").touch()
    for output in ("/proc/x", str(tmp_path / "a.wav/x")):
        words = [f"model={checkpoint_folder}", "nested.widths=3", "-o", output]
        assert main(["slice", *words]) == 2
        assert f"output '{output}' cannot be written: " in capsys.readouterr().err
