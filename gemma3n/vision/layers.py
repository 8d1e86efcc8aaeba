"""What the blocks of the vision tower are made of.

Maps are [n, height, width, channels]: norms, 1x1 convs and attention read the channels of a pixel
in one piece, and the other convs take torch's usual order as a view.
"""

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.pieces import PIECE_BYTES

EPS = 1e-6  # the tower's own; `rms_norm_eps` of the config is the embedder's


class Conv(nn.Conv2d):
    """Conv over a map with TensorFlow's SAME padding: an output for every `stride`-th pixel.

    Where the padding is odd, the extra row and column go below and right.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(channels_in, channels, kernel, stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[n, height, width, channels in] -> [n, ceil(height / stride), .., channels]."""
        high, wide = (_same_padding(n, self.kernel_size[0], self.stride[0]) for n in x.shape[1:3])
        # A row of zeros on top of the kernel shifts it down by one, so that the larger padding can
        # stand on both sides: the same sums without a padded copy of the map.
        kernel = F.pad(self.weight, (wide % 2, 0, high % 2, 0))
        padding = ((high + 1) // 2, (wide + 1) // 2)
        x = x.permute(0, 3, 1, 2)
        x = F.conv2d(x, kernel, self.bias, self.stride, padding, groups=self.groups)
        return x.permute(0, 2, 3, 1)


def _same_padding(size: int, kernel: int, stride: int) -> int:
    """Zeros needed around a row of `size` pixels, before and after together."""
    return max(0, (ceil(size / stride) - 1) * stride + kernel - size)


class Pointwise(nn.Module):
    """1x1 conv: a linear map of each pixel's channels. `weight` keeps a conv's shape."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels_in, 1, 1))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # what nn.Conv2d starts from

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels in] -> [..., channels]."""
        return F.linear(x, self.weight.flatten(1))


class ChannelNorm(nn.Module):
    """RMS norm over the channels with a gain, in the dtype of the map, as the tower was made."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels], same out."""
        # One pass to a number a pixel; x.square().mean() would write a second map.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.rsqrt(length.square() / x.shape[-1] + EPS)
        return x * scale * self.weight


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, which is the model's."""
    # torch's bfloat16 tanh on a CPU took a quarter of the tower's time. The erf form is six times
    # as fast and within 5e-4: there, 1 % on top of what rounding to bfloat16 costs anyway.
    erf = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    return F.gelu(x, approximate="none" if erf else "tanh")


class ConvNorm(nn.Module):
    """Conv, norm and, unless `act` is off, GELU."""

    def __init__(self, conv: Conv | Pointwise, act: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.bn = ChannelNorm(conv.weight.shape[0])
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels in] -> [..., channels]; a `Conv` needs a whole map."""
        x = self.bn(self.conv(x))
        return gelu(x) if self.act else x


class LayerScale(nn.Module):
    """A gain a channel on what a block adds. It starts small: a new block does almost nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-5))

    def forward(self, y: Tensor, shortcut: Tensor | None) -> Tensor:
        """Scale `y` [..., channels], what the block made, and add it to its input, if given."""
        return y * self.gamma if shortcut is None else torch.addcmul(shortcut, y, self.gamma)


def by_pixels(step: Callable[[Tensor], Tensor], x: Tensor, expanded: int) -> Tensor:
    """Apply a step that treats every pixel alone, on a CPU to some of the pixels at a time.

    Args:
        step: [..., channels in] -> [..., channels]
        x: [n, height, width, channels in]
        expanded: the most channels that `step` gives a pixel on the way.

    Returns:
        [n, height, width, channels]
    """
    at_once = max(1, PIECE_BYTES // (expanded * x.element_size()))
    pixels = x.flatten(0, 2)
    if x.device.type != "cpu" or pixels.shape[0] <= at_once:
        return step(x)
    return torch.cat([step(piece) for piece in pixels.split(at_once)]).unflatten(0, x.shape[:3])
