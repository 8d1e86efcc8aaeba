"""Golden arrays and small towers for the audio tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from gemma3n.config import AudioConfig, Config

Golden = Callable[[str], dict[str, Tensor]]
PREFIX = "model.audio_tower."


@pytest.fixture(scope="session")
def features(golden: Golden) -> dict[str, npt.NDArray[np.float32]]:
    """Waveforms and the mel spectrograms that the reference made of them."""
    return {name: tensor.numpy() for name, tensor in golden("audio_features").items()}


@pytest.fixture(scope="session")
def tower(golden: Golden) -> dict[str, Tensor]:
    """What the reference's tower made of those mel spectrograms."""
    return golden("audio_tower")


@pytest.fixture(scope="session")
def weights(golden: Golden) -> dict[str, Tensor]:
    """The golden checkpoint's audio tower, in float32."""
    return {
        name.removeprefix(PREFIX): tensor.float()
        for name, tensor in golden("checkpoint/model").items()
        if name.startswith(PREFIX)
    }


@pytest.fixture
def golden_config(checkpoint_folder: Path) -> AudioConfig:
    config = Config.from_folder(checkpoint_folder).audio
    assert config is not None
    return config


@pytest.fixture
def odd_config() -> AudioConfig:
    """Every dimension its own, and what released checkpoints leave alone, changed."""
    return AudioConfig(
        hidden_size=12,
        input_feat_size=11,
        rms_norm_eps=1e-4,
        gradient_clipping=3.0,
        conf_num_hidden_layers=2,
        conf_num_attention_heads=3,
        conf_attention_chunk_size=5,
        conf_attention_context_left=4,
        conf_attention_context_right=2,
        conf_attention_logit_cap=2.0,
        conf_conv_kernel_size=3,
        conf_reduction_factor=3,
        conf_residual_weight=0.7,
        sscp_conv_channel_size=[7, 2],
        sscp_conv_kernel_size=[[3, 3], [2, 4]],
        sscp_conv_stride_size=[[2, 1], [3, 2]],
        sscp_conv_group_norm_eps=1e-2,
    )
