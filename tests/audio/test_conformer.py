from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemma3n.audio.conformer import Conformer
from gemma3n.audio.mel import tokens_for
from gemma3n.config import AudioConfig
from gemma3n.errors import InputError, SettingsError

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture
def conformer(golden_config: AudioConfig, weights: dict[str, Tensor]) -> Conformer:
    return build(golden_config, weights)


def build(config: AudioConfig, weights: dict[str, Tensor]) -> Conformer:
    conformer = Conformer(config)
    conformer.load_state_dict(weights)  # strict: names and shapes are the checkpoint's
    return conformer.eval().requires_grad_(False)


def randomise(conformer: Conformer) -> Conformer:
    for parameter in conformer.parameters():
        torch.nn.init.normal_(parameter, mean=0.1, std=0.4)
    return conformer.eval().requires_grad_(False)


def golden_batch(features: Arrays) -> tuple[Tensor, Tensor]:
    return torch.tensor(features["batch_features"]), torch.tensor(features["batch_mask"])


def assert_within(result: Tensor, expected: Tensor, tolerance: float = 2e-4) -> None:
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


def test_a_padded_batch_has_the_references_features_and_mask(
    conformer: Conformer, features: Arrays, tower: dict[str, Tensor]
) -> None:
    result, mask = conformer(*golden_batch(features))
    assert_within(result, tower["batch_output"])
    torch.testing.assert_close(mask, ~tower["batch_output_mask"])


def test_subsampling_and_the_first_block_are_the_references(
    conformer: Conformer, features: Arrays, tower: dict[str, Tensor]
) -> None:
    mels, mask = golden_batch(features)
    assert_within(conformer.subsample_conv_projection(mels), tower["batch_subsample"])
    conformer.conformer = conformer.conformer[:1]
    first, _ = conformer.frames(mels, mask)
    assert_within(first, tower["batch_conformer0"])


def test_thirty_seconds_have_the_references_features(
    conformer: Conformer, features: Arrays, tower: dict[str, Tensor]
) -> None:
    mels, mask = torch.tensor(features["long_features"]), torch.tensor(features["long_mask"])
    result, kept = conformer(mels, mask)
    assert_within(result, tower["long_output"])
    assert kept.all()


def test_a_bound_that_clamps_gives_the_references_features(
    golden_config: AudioConfig,
    weights: dict[str, Tensor],
    features: Arrays,
    tower: dict[str, Tensor],
) -> None:
    golden_config.gradient_clipping = 1.5
    result, _ = build(golden_config, weights)(*golden_batch(features))
    assert_within(result, tower["clip1p5_output"])


def test_bfloat16_points_where_float32_points(
    conformer: Conformer, features: Arrays, tower: dict[str, Tensor]
) -> None:
    mels, mask = torch.tensor(features["long_features"]), torch.tensor(features["long_mask"])
    result, _ = conformer.bfloat16()(mels, mask)
    assert result.dtype == torch.bfloat16
    cosine = torch.cosine_similarity(result.float(), tower["long_output"], dim=-1)
    assert cosine.min() >= 0.99


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 90), min_size=2, max_size=3), silence=st.booleans())
def test_with_lengths_a_clip_in_a_batch_equals_the_clip_alone(
    odd_config: AudioConfig, lengths: list[int], silence: bool
) -> None:
    # In float64: some random weights magnify what float32 rounds by more than any tolerance.
    conformer = randomise(Conformer(odd_config)).double()
    clips = [torch.randn(frames, 11).double() for frames in lengths]
    fill = np.log(1e-5) if silence else 1e3
    mels = torch.full((len(clips), max(lengths), 11), fill, dtype=torch.float64)
    for i, clip in enumerate(clips):
        mels[i, : len(clip)] = clip
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    together, kept = conformer(mels, mask, torch.tensor(lengths))
    for i, clip in enumerate(clips):
        alone, all_kept = conformer(clip[None], torch.ones(1, len(clip), dtype=torch.bool))
        assert all_kept.all()
        tokens = tokens_for(len(clip), odd_config)
        assert kept[i].tolist() == [True] * tokens + [False] * (kept.shape[1] - tokens)
        torch.testing.assert_close(together[i, :tokens], alone[0], rtol=1e-4, atol=1e-4)
        assert not together[i, tokens:].any()


def test_features_are_the_frames_that_the_reduction_keeps(odd_config: AudioConfig) -> None:
    conformer = randomise(Conformer(odd_config))
    mels, mask = torch.randn(2, 61, 11), torch.arange(61) < torch.tensor([[61], [40]])
    frames, real = conformer.frames(mels, mask)
    features, kept = conformer(mels, mask)
    torch.testing.assert_close(kept, real[:, ::3])
    torch.testing.assert_close(features[kept], frames[:, ::3][kept])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rms_norm_eps", 1e-2),
        ("gradient_clipping", 1.0),
        ("conf_attention_context_left", 5),
        ("conf_attention_context_right", 1),
        ("conf_attention_logit_cap", 1.0),
        ("conf_residual_weight", 0.5),
        ("sscp_conv_group_norm_eps", 1.0),
    ],
)
def test_each_setting_without_a_weight_has_a_say(
    odd_config: AudioConfig, name: str, value: float
) -> None:
    conformer = randomise(Conformer(odd_config))
    mels, mask = torch.randn(1, 50, 11), torch.ones(1, 50, dtype=torch.bool)
    before, _ = conformer(mels, mask)
    setattr(odd_config, name, value)
    after, _ = build(odd_config, conformer.state_dict())(mels, mask)
    assert (after - before).abs().max() > 1e-3


def test_every_weight_of_the_tower_gets_a_gradient(odd_config: AudioConfig) -> None:
    conformer = Conformer(odd_config)
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    result, kept = conformer(torch.randn(2, 40, 11), mask, torch.tensor([40, 25]))
    result[kept].square().sum().backward()
    for name, parameter in conformer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conf_num_hidden_layers", 0, "conf_num_hidden_layers=0; it must be 1 or more"),
        ("conf_attention_chunk_size", 0, "conf_attention_chunk_size=0; it must be 1 or more"),
        ("conf_attention_context_left", 0, "context_left=0; it must be 1 or more"),
        ("conf_attention_context_right", -1, "context_right=-1; it must be 0 or more"),
        ("conf_num_attention_heads", 5, "hidden_size=12 for 5 heads; it must be even and"),
        ("hidden_size", 9, "hidden_size=9 for 3 heads; it must be even and a multiple"),
    ],
)
def test_a_config_that_describes_no_tower_is_refused(
    odd_config: AudioConfig, name: str, value: int, message: str
) -> None:
    setattr(odd_config, name, value)
    with pytest.raises(SettingsError, match=message):
        Conformer(odd_config)


@pytest.mark.parametrize("shape", [(2, 9), (2, 9, 12), (2, 0, 11)])
def test_mels_of_another_shape_are_refused(odd_config: AudioConfig, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"the audio tower reads \[batch, frames, 11\]"):
        Conformer(odd_config)(torch.zeros(shape), torch.ones(shape[:2], dtype=torch.bool))


@pytest.mark.parametrize("mask", [torch.ones(2, 8, dtype=torch.bool), torch.ones(2, 9)])
def test_a_mask_that_does_not_fit_is_refused(odd_config: AudioConfig, mask: Tensor) -> None:
    with pytest.raises(InputError, match=r"it is bool \[batch, frames\], True where a frame is"):
        Conformer(odd_config)(torch.zeros(2, 9, 11), mask)
