import pytest
import torch

from gemma3n.audio.subsample import CumulativeGroupNorm, Subsample
from gemma3n.config import AudioConfig
from gemma3n.errors import SettingsError


def test_each_frame_is_normalised_by_what_came_up_to_it_with_means_as_they_were() -> None:
    norm = CumulativeGroupNorm(3, eps=1e-2)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 7, 5, 3) + 4
    squares = torch.zeros(2)
    for t in range(7):
        mean = x[:, : t + 1].mean((1, 2, 3))
        squares += (x[:, t] - mean[:, None, None]).square().sum((1, 2))
        variance = squares / ((t + 1) * 5 * 3)
        expected = (x[:, t] - mean[:, None, None]) / (variance[:, None, None] + 1e-2).sqrt()
        torch.testing.assert_close(norm(x)[:, t], expected * norm.weight)


def test_normalising_in_bfloat16_rounds_only_the_result() -> None:
    norm = CumulativeGroupNorm(3, eps=1e-3)
    x = (torch.randn(1, 600, 5, 3) + 4).bfloat16()
    torch.testing.assert_close(norm.bfloat16()(x), norm.float()(x.float()).bfloat16())


def test_what_lies_past_a_clips_end_is_read_by_no_layer(odd_config: AudioConfig) -> None:
    subsample = Subsample(odd_config)
    mels = torch.randn(2, 29, 11)
    expected = subsample(mels[:1, :17])
    mels[0, 17:] = 1e6
    result = subsample(mels, torch.tensor([17, 29]))
    torch.testing.assert_close(result[:1, : expected.shape[1]], expected)


def test_a_number_of_layers_other_than_two_is_refused(odd_config: AudioConfig) -> None:
    odd_config.sscp_conv_channel_size = [4]
    with pytest.raises(SettingsError, match="the audio tower has 2 convolution layers"):
        Subsample(odd_config)


def test_fewer_mel_bins_than_the_kernels_cover_are_refused(odd_config: AudioConfig) -> None:
    odd_config.input_feat_size = 1
    with pytest.raises(SettingsError, match="input_feat_size=1 mel bins are fewer than kernels"):
        Subsample(odd_config)
