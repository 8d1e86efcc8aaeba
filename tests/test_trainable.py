from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gemma3n
from gemma3n import Gemma3n, SettingsError
from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.text.altup import AltUp
from gemma3n.text.attention import rope_table
from gemma3n.trainable import Trainable
from gemma3n.vision.layers import Pointwise

IDS = torch.tensor([[2, 9, 8, 77]])


def test_a_loaded_model_trains_from_what_inference_computes(
    checkpoint_folder: Path, model: Gemma3n
) -> None:
    checkpoint = Checkpoint(checkpoint_folder)
    trainable = Trainable(checkpoint.config)
    trainable.load(checkpoint)
    mels, lengths = torch.randn(2, 90, 128), torch.tensor([90, 61])
    clips, frames, counts = trainable.soft_audio(mels, lengths)
    expected = model.encode_audio([mels[0], mels[1, :61]])
    for found, soft in zip(clips, expected, strict=True):
        torch.testing.assert_close(found, soft, atol=2e-4, rtol=0)
    assert frames.shape[1] == counts.max()
    pixels = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(trainable.soft_images(pixels), model.encode_images(pixels))
    hidden = trainable.text(IDS, trainable.fused(IDS), torch.arange(4)[None])
    torch.testing.assert_close(trainable.text.logits(hidden), model.logits(IDS))


def test_what_is_saved_is_a_checkpoint_like_any_other(
    checkpoint_folder: Path, tmp_path: Path, model: Gemma3n
) -> None:
    checkpoint = Checkpoint(checkpoint_folder)
    trainable = Trainable(checkpoint.config)
    trainable.load(checkpoint)
    for _ in range(2):  # the second replaces the first
        trainable.save(tmp_path / "saved", checkpoint_folder)
    saved = gemma3n.load(tmp_path / "saved", precision="float32")
    assert torch.equal(saved.logits(IDS), model.logits(IDS))
    assert saved.tokenizer.encode("hello") == model.tokenizer.encode("hello")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_every_weight_gets_a_gradient(checkpoint_folder: Path) -> None:
    trainable = Trainable(Config.from_folder(checkpoint_folder))
    audio, _, _ = trainable.soft_audio(torch.randn(1, 90, 128), torch.tensor([90]))
    images = trainable.soft_images(torch.rand(1, 3, 256, 256))
    config = trainable.config
    ids = [5, 512, *[config.image_token_id] * 256, 528, *[config.audio_token_id] * 188, 9]
    batch = torch.tensor([ids])
    embeddings = trainable.fused(batch, list(images), audio)
    positions = torch.arange(len(ids))[None]
    trainable.text.logits(trainable.text(batch, embeddings, positions)).square().mean().backward()
    without = {n for n, p in trainable.named_parameters() if p.grad is None or not p.grad.any()}
    assert not without


def test_first_weights_depend_on_the_seed_alone(checkpoint_folder: Path) -> None:
    config = Config.from_folder(checkpoint_folder)
    one, again, other = Trainable(config, 1), Trainable(config, 1), Trainable(config, 2)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True)]
    assert all(same)
    gate = "text.layers.0.mlp.gate_proj.weight"
    assert not torch.equal(one.state_dict()[gate], other.state_dict()[gate])
    assert one.state_dict()[gate].std() == pytest.approx(64**-0.5, rel=0.05)


def test_a_new_vision_tower_tells_images_apart_from_the_start(checkpoint_folder: Path) -> None:
    """Its maps ignore what all pixels share: grey gives nothing, whatever its channels become."""
    trainable = Trainable(Config.from_folder(checkpoint_folder))
    assert trainable.vision is not None
    stem = trainable.vision.conv_stem.conv
    grey = torch.full((1, 9, 9, 3), 0.5)
    assert stem(grey)[:, 1:-1, 1:-1].abs().max() < 1e-5
    for part in trainable.vision.modules():
        if isinstance(part, Pointwise):
            even = part(torch.ones(1, part.weight.shape[1]))
            torch.testing.assert_close(even, torch.zeros_like(even), atol=1e-5, rtol=0)


def test_a_new_decoder_mixes_hardly_and_attends_evenly(checkpoint_folder: Path) -> None:
    trainable = Trainable(Config.from_folder(checkpoint_folder))
    layer = trainable.text.layer(0)
    assert layer.altup.prediction_coefs.weight.abs().max() < 0.1
    assert layer.altup.correction_coefs.weight.abs().max() < 0.1
    x = torch.randn(1, 50, trainable.config.text.hidden_size)
    rope = rope_table(torch.arange(50)[None], 1e4, layer.self_attn.dim, torch.float32)
    key, _ = layer.self_attn.keys_values(x, rope)
    query = layer.self_attn.q_norm(layer.self_attn.q_proj(x).unflatten(-1, (-1, key.shape[-1])))
    scores = query[:, :, 0] @ key[:, :, 0].mT
    assert float(scores.detach().std()) == pytest.approx(1.0, abs=0.3)


def test_mixing_coefficients_stay_within_the_clip_of_the_config(checkpoint_folder: Path) -> None:
    config = Config.from_folder(checkpoint_folder)
    trainable = Trainable(replace(config, text=replace(config.text, altup_coef_clip=0.01)))
    with torch.no_grad():
        for part in trainable.modules():
            if isinstance(part, AltUp):
                part.prediction_coefs.weight.fill_(1.0)
                part.correction_coefs.weight.fill_(-1.0)
    trainable.clip_mixing()
    first = trainable.text.layer(0).altup
    assert torch.equal(first.prediction_coefs.weight.unique(), torch.tensor([0.01]))
    assert torch.equal(first.correction_coefs.weight.unique(), torch.tensor([-0.01]))


def test_rows_with_media_that_the_config_lacks_are_refused() -> None:
    text_only = {"model_type": "gemma3n_text", "num_hidden_layers": 2, "num_kv_shared_layers": 0}
    tiny = {"hidden_size": 8, "vocab_size": 9, "vocab_size_per_layer_input": 9, "head_dim": 4}
    config = Config.from_dict({**text_only, **tiny, "intermediate_size": 4})
    trainable = Trainable(config)
    with pytest.raises(SettingsError, match="rows with audio came, but"):
        trainable.soft_audio(torch.zeros(1, 9, 128), torch.tensor([9]))
    with pytest.raises(SettingsError, match="rows with vision came"):
        trainable.soft_images(torch.zeros(1, 3, 256, 256))
