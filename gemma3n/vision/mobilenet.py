"""pixels -> image features (the MobileNet-V5 encoder; 300M in the released checkpoints).

Maps are [n, height, width, channels] inside, see `layers.py`. Attribute names are those of the
checkpoint, which are timm's.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.config import VisionConfig
from gemma3n.errors import InputError
from gemma3n.recompute import run
from gemma3n.vision.block_table import Block, round_width, stem_and_blocks
from gemma3n.vision.layers import (
    ChannelNorm,
    Conv,
    ConvNorm,
    LayerScale,
    Pointwise,
    by_pixels,
    gelu,
)

GRID = 16  # 16 x 16 features are the 256 soft tokens of an image


class MobileNet(nn.Module):
    """The vision tower; its block table comes with the config."""

    recompute = False  # blocks, see `gemma3n.recompute`

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, stages = stem_and_blocks(config)
        self.conv_stem = ConvNorm(Conv(3, width, kernel=3, stride=2, bias=True))
        self.blocks = nn.ModuleList()  # one nn.Sequential a stage
        for stage in stages:
            blocks: list[nn.Module] = []
            for block in stage:
                blocks.append(_KINDS[block.kind](width, block))
                width = block.channels
            self.blocks.append(nn.Sequential(*blocks))
        finer, coarser = stages[-2][-1], stages[-1][-1]
        self.msfa = Fusion(finer.channels, coarser.channels, config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: [n, 3, height, width], RGB in 0..1, of any float dtype.

        Returns:
            [n, channels, 16, 16] image features in the dtype of the weights.

        Raises:
            InputError: pixels of another shape.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise InputError(
                f"pixels have shape {list(pixels.shape)}; the vision tower reads "
                "[n, 3, height, width]. Stack RGB images along a first axis."
            )
        pixels = pixels.to(self.conv_stem.conv.weight.dtype)
        x = self.conv_stem(pixels.permute(0, 2, 3, 1).contiguous())
        finer = x
        for stage in self.blocks:
            finer = x
            for block in cast(nn.Sequential, stage):
                x = run(block, self.recompute, x)
        return self.msfa(finer, x).permute(0, 3, 1, 2)


class EdgeResidual(nn.Module):
    """Expanding conv, then 1x1 projection."""

    def __init__(self, width: int, block: Block) -> None:
        super().__init__()
        self.expanded = round_width(width * block.expansion)
        self.conv_exp = Conv(width, self.expanded, block.kernel, block.stride)
        self.bn1 = ChannelNorm(self.expanded)
        self.conv_pwl = Pointwise(self.expanded, block.channels)
        self.bn2 = ChannelNorm(block.channels)
        self.shortcut = block.stride == 1 and width == block.channels

    def forward(self, x: Tensor) -> Tensor:
        """[n, height, width, channels in] -> [n, ceil(height / stride), .., channels]."""
        y = by_pixels(self._project, self.conv_exp(x), self.expanded)
        return x + y if self.shortcut else y

    def _project(self, y: Tensor) -> Tensor:
        return self.bn2(self.conv_pwl(gelu(self.bn1(y))))


class InvertedResidual(nn.Module):
    """Expand, project; depthwise convs before and between, where the table has them.

    Args:
        width: channels in.
        block: what the table says.
        scaled: False is the one in `Fusion`, without layer scale and shortcut.
    """

    def __init__(self, width: int, block: Block, scaled: bool = True) -> None:
        super().__init__()
        self.expanded = round_width(width * block.expansion)
        start = mid = None
        if block.start_kernel:
            stride = 1 if block.kernel else block.stride
            start = Conv(width, width, block.start_kernel, stride, groups=width)
        if block.kernel:
            mid = Conv(self.expanded, self.expanded, block.kernel, block.stride, self.expanded)
        self.dw_start = None if start is None else ConvNorm(start, act=False)
        self.pw_exp = ConvNorm(Pointwise(width, self.expanded))
        self.dw_mid = None if mid is None else ConvNorm(mid)
        self.pw_proj = ConvNorm(Pointwise(self.expanded, block.channels), act=False)
        self.layer_scale = LayerScale(block.channels) if scaled else None
        self.shortcut = scaled and block.stride == 1 and width == block.channels

    def forward(self, x: Tensor) -> Tensor:
        """[n, height, width, channels in] -> [n, ceil(height / stride), .., channels]."""
        y = x if self.dw_start is None else self.dw_start(x)
        if self.dw_mid is None:
            y = by_pixels(self._expand_and_project, y, self.expanded)
        else:
            y = self.dw_mid(by_pixels(self.pw_exp, y, self.expanded))
            y = by_pixels(self.pw_proj, y, self.expanded)
        if self.layer_scale is None:
            return y
        return self.layer_scale(y, x if self.shortcut else None)

    def _expand_and_project(self, y: Tensor) -> Tensor:
        return self.pw_proj(self.pw_exp(y))


class AttentionBlock(nn.Module):
    """Norm, attention, layer scale."""

    def __init__(self, width: int, block: Block) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.attn = MultiQueryAttention(width, block)
        self.layer_scale = LayerScale(block.channels)
        self.shortcut = width == block.channels

    def forward(self, x: Tensor) -> Tensor:
        """[n, height, width, channels in] -> [n, height, width, channels]."""
        return self.layer_scale(self.attn(self.norm(x)), x if self.shortcut else None)


_KINDS = {"er": EdgeResidual, "uir": InvertedResidual, "mqa": AttentionBlock}


class MultiQueryAttention(nn.Module):
    """Every pixel attends to the whole map; all query heads share one head of keys and values."""

    def __init__(self, width: int, block: Block) -> None:
        super().__init__()
        self.key_dim = block.key_dim
        self.query = Projection(width, block.heads * block.key_dim)
        self.key = Projection(width, block.key_dim, block.kernel, block.kv_stride)
        self.value = Projection(width, block.value_dim, block.kernel, block.kv_stride)
        self.output = Projection(block.heads * block.value_dim, block.channels)

    def forward(self, x: Tensor) -> Tensor:
        """[n, height, width, channels in] -> [n, height, width, channels]."""
        # As keys are the same for every query head, a head is one more position of a single head:
        # nothing is repeated and nothing transposed.
        query = self.query(x).reshape(x.shape[0], 1, -1, self.key_dim)
        key = self.key(x).flatten(1, 2).unsqueeze(1)  # [n, 1, positions, key_dim]
        value = self.value(x).flatten(1, 2).unsqueeze(1)
        y = F.scaled_dot_product_attention(query, key, value)
        return self.output(y.reshape(*x.shape[:3], -1))


class Projection(nn.Module):
    """1x1 conv; where keys and values come from a thinned map, depthwise conv and norm before."""

    def __init__(self, width: int, channels: int, kernel: int = 0, stride: int = 1) -> None:
        super().__init__()
        self.down_conv = Conv(width, width, kernel, stride, groups=width) if stride > 1 else None
        self.norm = ChannelNorm(width) if stride > 1 else None
        self.proj = Pointwise(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[n, height, width, channels in] -> [n, ceil(height / stride), .., channels]."""
        if self.down_conv is not None and self.norm is not None:
            x = self.norm(self.down_conv(x))
        return self.proj(x)


class Fusion(nn.Module):
    """Multi-scale fusion: the maps of the last two stages joined, then brought to 16 x 16."""

    def __init__(self, finer: int, coarser: int, channels: int) -> None:
        super().__init__()
        block = Block("uir", channels, stride=1, expansion=2.0)
        self.ffn = InvertedResidual(finer + coarser, block, scaled=False)
        self.norm = ChannelNorm(channels)

    def forward(self, finer: Tensor, coarser: Tensor) -> Tensor:
        """Join the two maps, each pixel of the coarser one repeated.

        Args:
            finer: [n, height, width, channels of the last stage but one]
            coarser: [n, ceil(height / 2), .., channels of the last stage]

        Returns:
            [n, 16, 16, channels]
        """
        high, wide = finer.shape[1:3]
        coarser = F.interpolate(coarser.permute(0, 3, 1, 2), (high, wide), mode="nearest")
        x = self.ffn(torch.cat([finer, coarser.permute(0, 2, 3, 1)], dim=-1)).permute(0, 3, 1, 2)
        if high % GRID or wide % GRID:
            x = F.interpolate(x, (GRID, GRID), mode="bilinear")
        else:
            x = F.avg_pool2d(x, (high // GRID, wide // GRID))
        return self.norm(x.permute(0, 2, 3, 1))
