"""What `to=gguf` writes, read again by the gguf package."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gemma3n.checkpoint import PLE_TABLE, Checkpoint
from gemma3n.matformer import NestedSize
from gemma3n.named import checkpoint_folder
from pipelines.cli import main
from pipelines.random_checkpoint import write_random_checkpoint
from pipelines.settings import Weights

gguf: Any = pytest.importorskip("gguf")

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "head_dim": 32,
    "sliding_window": 16,
}
NARROW = NestedSize(widths=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, llama_shape: dict[str, Any]) -> Path:
    """Random weights in llama.cpp's shape, small, with nano's vocabulary."""
    folder = tmp_path_factory.mktemp("random") / "checkpoint"
    write_random_checkpoint(folder, llama_shape | SMALL)
    shutil.copy(checkpoint_folder("nano") / "tokenizer.model", folder)
    return folder


def written(folder: Path, output: Path, weights: Weights) -> Any:
    from pipelines.export.gguf import write_gguf

    write_gguf(Checkpoint(folder), NARROW, output, weights)
    (file,) = output.iterdir()
    return gguf.GGUFReader(file)


@pytest.mark.parametrize("weights", [Weights.float32, Weights.bfloat16, Weights.q8_0])
def test_tensors_are_those_of_the_nested_size(
    folder: Path, tmp_path: Path, weights: Weights
) -> None:
    reader = written(folder, tmp_path, weights)
    values = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    assert len(values) == len(reader.tensors) == 7 + 22 * 24
    checkpoint = Checkpoint(folder)
    table = checkpoint.tensor(PLE_TABLE).float().numpy()
    down = checkpoint.tensor("text.layers.3.mlp.down_proj.weight").float().numpy()
    streams = checkpoint.tensor("text.altup_projections.2.weight").float().numpy()
    # Half a step of a block's scale, which is its largest value over 127 in float16.
    within = 0.0 if weights is not Weights.q8_0 else float(np.abs(table).max()) / 127 * 0.51
    theirs = values["per_layer_token_embd.weight"]
    np.testing.assert_allclose(theirs[:640], table, atol=within, rtol=0)
    np.testing.assert_array_equal(theirs[640:], np.broadcast_to(theirs[:1], (32, 22 * 256)))
    np.testing.assert_allclose(values["blk.3.ffn_down.weight"], down[:, :64], atol=within, rtol=0)
    np.testing.assert_array_equal(values["altup_proj.weight"][2], streams)
    np.testing.assert_array_equal(values["blk.21.attn_norm.weight"], np.ones(64))


def test_what_llama_cpp_reads_of_the_config_is_told(folder: Path, tmp_path: Path) -> None:
    reader = written(folder, tmp_path, Weights.q8_0)
    told = {name: field.contents() for name, field in reader.fields.items()}
    assert told["general.architecture"] == "gemma3n"
    assert told["gemma3n.block_count"] == 22
    assert told["gemma3n.feed_forward_length"] == [64] * 22
    assert told["gemma3n.attention.shared_kv_layers"] == 2
    assert told["gemma3n.attention.sliding_window"] == 16
    assert told["gemma3n.attention.sliding_window_pattern"][18:] == [True, False, True, False]
    assert told["gemma3n.rope.freq_base"] == 1e6
    assert told["gemma3n.rope.freq_base_swa"] == 1e4
    assert told["gemma3n.activation_sparsity_scale"][9] == pytest.approx(1.6448536)
    tokens, kinds = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == 672
    of = dict(zip(tokens, kinds, strict=True))
    assert (of["<bos>"], of["<unk>"], of["\n\n"], of["<0x0A>"], of["en"]) == (3, 2, 4, 6, 1)
    assert (of["<start_of_turn>"], kinds[640]) == (3, 5)
    assert told["tokenizer.ggml.eot_token_id"] == tokens.index("<end_of_turn>")


def test_rows_that_do_not_fit_blocks_stay_bfloat16(folder: Path, tmp_path: Path) -> None:
    from pipelines.export.gguf import write_gguf

    write_gguf(Checkpoint(folder), NestedSize(widths=50), tmp_path, Weights.q8_0)
    (file,) = tmp_path.iterdir()
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert kinds["blk.0.ffn_down.weight"] == "BF16"
    assert kinds["blk.0.ffn_up.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["altup_proj.weight"] == kinds["blk.0.laurel_l.weight"] == "BF16"
    assert kinds["blk.0.altup_router.weight"] == kinds["output_norm.weight"] == "F32"


def test_kv_of_sharing_layers_is_made_up_where_a_file_has_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Checkpoint(folder).entries
    bare = {k: v for k, v in entries.items() if not k.startswith("text.layers.20.self_attn.k")}
    assert len(entries) - len(bare) == 2
    checkpoint = Checkpoint(folder)
    checkpoint.entries = bare
    from pipelines.export.gguf import write_gguf

    write_gguf(checkpoint, NARROW, tmp_path, Weights.float32)
    (file,) = tmp_path.iterdir()
    values = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    assert not values["blk.20.attn_k.weight"].any()
    assert values["blk.20.attn_k.weight"].shape == (64, 64)
    assert torch.from_numpy(values["blk.20.attn_v.weight"].copy()).any()


def test_nano_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "to=gguf", "-o", str(tmp_path / "out")]) == 2
    assert "llama.cpp cannot run this decoder: altup_num_inputs=2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
