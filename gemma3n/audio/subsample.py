"""Mel spectrogram -> conformer frames, a quarter as many: two strided convolutions and a linear.

USM §2 (arXiv 2303.01037). Padding is on the future side ("reverse causal"), so frame i of a layer
starts at frame `stride * i` of the one before.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.config import AudioConfig
from gemma3n.errors import SettingsError

_BIN_PADDING = 1  # bins of zeros at either end, whatever the kernel


class Subsample(nn.Module):
    """Two convolution layers over time and frequency, then a linear to the conformer's width."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        sizes = (
            config.sscp_conv_channel_size,
            config.sscp_conv_kernel_size,
            config.sscp_conv_stride_size,
        )
        if any(len(size) != 2 for size in sizes):
            raise SettingsError(
                f"sscp_conv channels, kernels and strides are {sizes}; the audio tower has "
                "2 convolution layers. Give two entries of each."
            )
        before, bins = 1, config.input_feat_size
        layers = []
        for channels, kernel, stride in zip(*sizes, strict=True):
            layers.append(SubsampleConv(before, channels, kernel, stride, config))
            before, bins = channels, (bins + 2 * _BIN_PADDING - kernel[1]) // stride[1] + 1
            if bins < 1:
                raise SettingsError(
                    f"input_feat_size={config.input_feat_size} mel bins are fewer than kernels "
                    f"{sizes[1]} with strides {sizes[2]} need. Raise it, or lower those."
                )
        self.conv_0, self.conv_1 = layers
        self.input_proj_linear = nn.Linear(bins * before, config.hidden_size, bias=False)

    def forward(self, mels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Convolve and project.

        Args:
            mels: [batch, frames, bins]
            lengths: [batch], frames each clip has of its own; each layer reads zeros past them,
                as it pads a clip alone. None reads whatever is there, as the reference does.

        Returns:
            [batch, shorter, hidden]
        """
        x = mels[..., None].to(self.conv_0.conv.weight.dtype)  # [batch, frames, bins, channels]
        for layer in (self.conv_0, self.conv_1):
            if lengths is not None:
                past = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
                x = x.masked_fill(past[:, :, None, None], 0)
                lengths = (lengths - 1) // layer.conv.stride[0] + 1
            x = layer(x)
        return self.input_proj_linear(x.flatten(2))


class SubsampleConv(nn.Module):
    """Strided convolution, cumulative group norm, ReLU."""

    def __init__(
        self, before: int, channels: int, kernel: list[int], stride: list[int], config: AudioConfig
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            before, channels, (kernel[0], kernel[1]), (stride[0], stride[1]), bias=False
        )
        self.norm = CumulativeGroupNorm(channels, config.sscp_conv_group_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, bins, before] -> [batch, fewer, fewer bins, channels]."""
        later = self.conv.kernel_size[0] - 1
        x = F.pad(x, (0, 0, _BIN_PADDING, _BIN_PADDING, 0, later))
        # Channels stay last in memory: in bfloat16 oneDNN convolves that 50 times faster.
        x = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return F.relu(self.norm(x), inplace=True)


class CumulativeGroupNorm(nn.Module):
    """Normalises a frame by all entries of the frames up to it, in float32.

    The variance is not that of those entries: each frame's deviations are from the mean as it was
    at that frame, and are not taken again when the mean moves on.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` [batch, frames, bins, channels]; same shape and dtype out."""
        exact = x.float()
        seen = torch.arange(1, x.shape[1] + 1, device=x.device)
        # All frames have as many entries, so the mean of all is the mean of the frames' means.
        mean = exact.mean((2, 3)).cumsum(1) / seen  # [batch, frames]
        exact = exact - mean[:, :, None, None]
        # A norm makes no second copy of what is the largest tensor of the tower.
        squares = torch.linalg.vector_norm(exact, dim=(2, 3)).square()
        variance = squares.cumsum(1) / (seen * x.shape[2] * x.shape[3])
        scale = torch.rsqrt(variance + self.eps)[:, :, None, None] * self.weight.float()
        # In place, the peak of the tower is a copy lower; a gradient needs `exact` as it was.
        exact = exact * scale if torch.is_grad_enabled() else exact.mul_(scale)
        return exact.to(x.dtype)
