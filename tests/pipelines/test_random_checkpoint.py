from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import gemma3n
from gemma3n import SettingsError
from pipelines import random_checkpoint
from pipelines.random_checkpoint import main, write_random_checkpoint

TINY = {
    "num_hidden_layers": 7,
    "num_kv_shared_layers": 2,
    "intermediate_size": 11,
    "hidden_size": 24,
    "hidden_size_per_layer_input": 3,
    "vocab_size": 40,
    "vocab_size_per_layer_input": 37,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "laurel_rank": 5,
}
SHARED_FIVE = {"model.layers.5.self_attn.k_norm.weight", "model.layers.5.self_attn.k_proj.weight"}


@pytest.fixture(autouse=True)
def _few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_checkpoint, "_BLOCK", 1 << 12)


def test_a_random_checkpoint_loads_and_answers(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path / "tiny", TINY)
    model = gemma3n.load(tmp_path / "tiny", precision="float32")
    assert model.parts == ("text",)
    assert torch.isfinite(model.logits(torch.tensor([[2, 9, 8]]))).all()


def test_the_bytes_are_the_same_every_time_and_carry_the_unused_tensors(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_random_checkpoint(tmp_path / name, TINY)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() >= SHARED_FIVE
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_command_writes_the_size_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(random_checkpoint.SIZES, "e4b", TINY)
    assert main([str(tmp_path / "tiny"), "e4b"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'tiny'}\n"
    assert (tmp_path / "tiny/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "the following arguments are required: folder"),
        (["out", "e3b"], "invalid choice: 'e3b'"),
        (["out", "e2b", "audio"], "invalid choice: 'audio'"),
        (["."], "'.' cannot be made: File exists. Name a new folder."),
    ],
)
def test_wrong_use_is_answered_with_the_usage(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    shown = capsys.readouterr().err
    assert "usage: python -m pipelines.random_checkpoint FOLDER [e2b|e4b] [text|all]" in shown
    assert why in shown


def test_a_decoder_that_cannot_be_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="num_hidden_layers=0"):
        write_random_checkpoint(tmp_path / "tiny", {"num_hidden_layers": 0})
    assert not (tmp_path / "tiny").exists()
