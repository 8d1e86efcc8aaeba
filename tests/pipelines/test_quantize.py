"""`gemma3n quantize` writes a checkpoint that the other jobs take."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.cli import main

CLIP = "tests/samples/audio/en_allison/string-74.wav"


def test_a_quantized_checkpoint_transcribes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nano-int8"
    assert main(["quantize", "precision=int8", "-o", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    words = [CLIP, f"model={folder}", "device=cpu", "sink.formats=[jsonl]"]
    assert main(["transcribe", *words, "-o", str(tmp_path / "out")]) == 0
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == "seven four"
    known = json.loads((tmp_path / "out" / "fingerprint.json").read_text())
    assert known["precision"] == "int8"
    assert main(["plan", f"model={folder}", "sizes=[small]", "json=true"]) == 0
    assert '"precision": "int8"' in capsys.readouterr().out


def test_int4_weights_may_be_rounded_by_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for line in Path("tests/samples/audio/manifest.jsonl").read_text().splitlines()[:6]:
        row = json.loads(line)
        rows.append(
            {**row, "file": None, "audio": str(Path("tests/samples", row["file"]).absolute())}
        )
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = [tmp_path / "nearest", tmp_path / "calibrated"]
    words = ["quantize", "precision=int4"]
    assert main([*words, "-o", str(folders[0])]) == 0
    assert main([*words, f"calibrate=[{manifest}]", "rows=4", "-o", str(folders[1])]) == 0
    tensors = [load_file(folder / "model.safetensors") for folder in folders]
    assert tensors[0].keys() == tensors[1].keys()
    rounded = {name for name, tensor in tensors[0].items() if tensor.dtype is torch.uint8}
    assert {n for n in tensors[0] if not torch.equal(tensors[0][n], tensors[1][n])} >= rounded
    words = [CLIP, f"model={folders[1]}", "device=cpu", "sink.formats=[jsonl]"]
    assert main(["transcribe", *words, "-o", str(tmp_path / "out")]) == 0


def test_a_row_that_cannot_be_read_ends_a_calibration_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"image": "broken.png", "text": "a cat"}\n')
    words = ["precision=int4", f"calibrate=[{rows}]", "-o", str(tmp_path / "a")]
    assert main(["quantize", *words]) == 2
    err = capsys.readouterr().err
    assert "broken.png' cannot be used: " in err
    assert "Traceback" not in err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["precision=bfloat16"], "precision=bfloat16, but quantize makes int8 or int4. Give one"),
        ([], "precision is not set, and quantize needs it: int8: one scale a row"),
        (["precision=int8", "calibrate=[a.jsonl]"], "precision=int8 rounds to nearest, which"),
        (["precision=int4", "calibrate=[a.jsonl]", "rows=0"], "rows=0; at least 1. Raise it."),
        (["precision=int4", "calibrate=[absent.jsonl]"], "manifest 'absent.jsonl' does not exist"),
        (["model=absent", "precision=int8"], "model folder 'absent' does not exist"),
    ],
)
def test_what_cannot_be_quantized_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert main(["quantize", *words, "-o", str(tmp_path / "a")]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1
