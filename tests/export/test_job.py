"""`gemma3n export` writes a folder whole, or nothing, and refuses what cannot be."""

import errno
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.export import hf


def test_an_export_prints_the_folder_it_wrote(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "narrow"
    words = ["to=hf", f"model={checkpoint_folder}", "nested.widths=3", "-o", str(output)]
    assert main(["export", *words]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["narrow"]
    assert main(["plan", f"model={output}", "sizes=full", "json=true"]) == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nested.budget_gb=2"], "nested.budget_gb=2 is for loading, but an export is one size."),
        (["nested=nope"], "nested='nope', but this checkpoint knows full"),
        (["weights=q8_0"], "weights=q8_0 with to=hf; it takes auto."),
        (["calibrate=[a.jsonl]"], "calibrate= decides how activations are rounded beside int8"),
        (["to=litert", "weights=int8", "calibrate=[a.jsonl]", "rows=0"], "rows=0; at least 1."),
        (["to=onnx"], "to=onnx, but it takes one of hf, gguf"),
    ],
)
def test_an_export_that_cannot_be_is_refused_before_anything_is_written(
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    why: str,
) -> None:
    output = tmp_path / "out"
    assert main(["export", f"model={checkpoint_folder}", "-o", str(output), *words]) == 2
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("to", "package", "extra"), [("gguf", "gguf", "export"), ("litert", "litert_torch", "litert")]
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    package: str,
    extra: str,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", f"to={to}", "-o", str(tmp_path / "out")]) == 2
    why = f"to={to} writes with {package}, which is not installed. "
    assert f"{why}Install gemma3n-pipelines[{extra}]." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_never_overwritten(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["export", f"model={checkpoint_folder}", "-o", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_and_is_told(
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(folder: Path, outputs: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hf, "write_shards", full)
    output = tmp_path / "out"
    assert main(["export", f"model={checkpoint_folder}", "-o", str(output)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"gemma3n: No space left on device, in '{output}', and what was written")
    assert not list(tmp_path.iterdir())
