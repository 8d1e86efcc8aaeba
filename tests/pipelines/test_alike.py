import json
from pathlib import Path

import pytest

import gemma3n
from gemma3n.quantize import quantize_checkpoint
from pipelines.alike import alike, main
from pipelines.calibration import shown_rows
from pipelines.exit_code import DONE, WRONG_USE


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Spell {word}.", "text": " ".join(word)} for word in ("cat", "dog", "bird")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_model_is_like_itself_and_less_so_rounded(tmp_path: Path, manifest: str) -> None:
    original, rows = shown_rows("nano", [manifest], 2)
    assert len(rows) == 2
    same = alike(original, original, rows, "small")
    assert same.cosine == pytest.approx(1.0)
    assert same.agree == 1.0
    assert same.nats == same.other_nats > 0
    int4 = gemma3n.load(quantize_checkpoint("nano", "int4", tmp_path / "int4"), parts=["text"])
    rounded = alike(original, int4, rows, "small")
    assert 0.9 < rounded.cosine < 0.99999
    assert rounded.tokens == same.tokens == 2 * 4
    assert rounded.nats == same.nats != rounded.other_nats


def test_the_command_tells_of_every_checkpoint_and_size(
    manifest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nano", "nano", "--rows", manifest, "--precision"]
    assert main([*words, "float32"]) == DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if "nano" in line]
    assert [line.split()[3] for line in lines] == ["full", "small"]
    assert all("1.00000" in line and "100.0" in line for line in lines)
    assert main(["nano", "nowhere", "--rows", manifest]) == WRONG_USE
    assert "nowhere" in capsys.readouterr().err
