"""`to=hf` says everything in its config, and what it writes is still the same model to us."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config, VisionConfig
from gemma3n.errors import SettingsError
from gemma3n.matformer import FULL_SIZE, resolve_size
from gemma3n.vision.block_table import decoded_table, stem_and_blocks
from pipelines.export.hf import write_hf
from pipelines.export.hf_config import explicit_config
from pipelines.export.wide_tower import widened


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, nano: gemma3n.Gemma3n) -> Path:
    folder = tmp_path_factory.mktemp("nano-small")
    write_hf(Checkpoint("nano"), resolve_size("small", nano.config), folder)
    return folder


def test_an_export_gives_the_same_logits_with_a_wider_tower(
    exported: Path, nano: gemma3n.Gemma3n, mel: Tensor, pixels: Tensor, media_ids: Tensor
) -> None:
    again = gemma3n.load(exported, precision="float32", device="cpu")
    assert again.config.vision is not None
    assert again.config.vision.hidden_size == 2048
    images = again.encode_images(pixels)
    torch.testing.assert_close(images, nano.encode_images(pixels), atol=1e-4, rtol=0)
    audio = again.encode_audio([mel])
    ours = nano.logits(media_ids, images=nano.encode_images(pixels), audio=audio, nested="small")
    torch.testing.assert_close(
        again.logits(media_ids, images=images, audio=audio), ours, atol=1e-4, rtol=0
    )


def test_an_exported_config_leaves_nothing_to_defaults(exported: Path) -> None:
    raw = json.loads((exported / "config.json").read_text())
    config = Config.from_folder(exported)
    text = asdict(config.text)
    assert {key: raw["text_config"][key] for key in text} == text
    thetas = {
        kind: rope["rope_theta"] for kind, rope in raw["text_config"]["rope_parameters"].items()
    }
    assert thetas == {"full_attention": 1e6, "sliding_attention": 1e4}
    assert raw["architectures"] == ["Gemma3nForConditionalGeneration"]
    assert raw["audio_soft_tokens_per_image"] == 80
    assert "nested_sizes" not in raw
    blocks = [
        block for stage in raw["vision_config"]["model_args"]["block_args"] for block in stage
    ]
    assert all(isinstance(block, dict) for block in blocks)
    generation = json.loads((exported / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 2, "eos_token_id": [1, 8], "pad_token_id": 0}


def test_both_spellings_of_rope_are_written() -> None:
    raw = {"model_type": "gemma3n_text", "rope_theta": 5e5, "rope_local_base_freq": 7e3}
    config = explicit_config(raw)
    assert Config.from_dict(config).text == Config.from_dict(raw).text
    assert config["rope_parameters"]["full_attention"]["rope_theta"] == 5e5
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (5e5, 7e3)
    assert config["architectures"] == ["Gemma3nForCausalLM"]


@pytest.mark.parametrize("model_args", [None, {"stem_size": 24}])
def test_a_decoded_block_table_means_the_same_tower(model_args: dict[str, int] | None) -> None:
    config = VisionConfig(model_args=model_args)
    again = VisionConfig(model_args=decoded_table(config))
    assert stem_and_blocks(again) == stem_and_blocks(config)


def test_a_tower_that_timm_cannot_build_is_refused() -> None:
    config = {"vision_config": {"hidden_size": 4096}}
    with pytest.raises(SettingsError, match=r"gives 4096 channels, but timm, .* gives 2048"):
        widened({}, config)


def test_a_tower_of_timms_width_is_left_alone(checkpoint_folder: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint(checkpoint_folder)
    write_hf(checkpoint, FULL_SIZE, tmp_path)
    written = Checkpoint(tmp_path)
    assert written.entries.keys() == checkpoint.entries.keys()
    assert all(
        torch.equal(written.tensor(name), checkpoint.tensor(name)) for name in checkpoint.entries
    )
