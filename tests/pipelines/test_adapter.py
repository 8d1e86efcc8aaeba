"""`adapter=` of a job and `gemma3n merge` of its checkpoint give the same results."""

import json
from pathlib import Path

import pytest
import torch

from gemma3n.adapter_config import AdapterConfig
from gemma3n.adapter_files import save_adapter
from gemma3n.checkpoint import Checkpoint
from gemma3n.lora import new_adapter
from gemma3n.trainable import Trainable
from pipelines.cli import main

CLIP = "tests/samples/audio/en_allison/string-74.wav"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter of nano that makes it say something else."""
    checkpoint, config = Checkpoint("nano"), AdapterConfig(2, 2.0)
    made = new_adapter(Trainable(checkpoint.config).text, config, ["q_proj", "down_proj"])
    for _, low in made.named():
        torch.nn.init.normal_(low.up, std=4.0)
    save_adapter(tmp_path / "adapter", made, config, checkpoint)
    return tmp_path / "adapter"


def test_an_adapter_in_a_job_is_an_adapter_merged_before_it(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def text(name: str, *words: str) -> str:
        shared = ["precision=float32", "device=cpu", "sink.formats=[jsonl]"]
        assert main(["transcribe", CLIP, *shared, *words, "-o", str(tmp_path / name)]) == 0
        return str(json.loads((tmp_path / name / "results.jsonl").read_text())["text"])

    plain, beside = text("plain"), text("beside", f"adapter={adapter}")
    assert main(["merge", f"adapter={adapter}", "-o", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'mine'}\n")
    assert plain == "seven four"
    assert beside != plain
    assert text("merged", f"model={tmp_path / 'mine'}") == beside
    # Another adapter is another run.
    words = [CLIP, "precision=float32", "device=cpu", "-o", str(tmp_path / "plain")]
    assert main(["transcribe", *words, f"adapter={adapter}"]) == 2
    assert "adapter" in capsys.readouterr().err


def test_a_rounded_checkpoint_is_not_merged(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounded = tmp_path / "int8"
    assert main(["quantize", "precision=int8", "-o", str(rounded)]) == 0
    words = [f"model={rounded}", f"adapter={adapter}", "-o", str(tmp_path / "out")]
    assert main(["merge", *words]) == 2
    assert "are int8, and cannot be merged with an adapter. Do that" in capsys.readouterr().err
    assert main(["export", "to=torch", f"model={rounded}", "-o", str(tmp_path / "out")]) == 2
    assert "are int8, and cannot be exported as programs. Do that" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("job", [["transcribe", CLIP], ["merge"]])
def test_a_folder_without_an_adapter_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], job: list[str]
) -> None:
    words = [*job, f"adapter={tmp_path}", "-o", str(tmp_path / "out")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "has no adapter_config.json, so it is no adapter in peft's layout" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
