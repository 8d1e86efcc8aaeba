"""Mel spectrogram -> audio features: the Universal Speech Model's conformer, made local and causal.

Conformer (arXiv 2005.08100), USM (arXiv 2303.01037).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.audio.attention import ChunkedAttention, Chunks
from gemma3n.audio.subsample import Subsample
from gemma3n.config import AudioConfig
from gemma3n.errors import InputError, SettingsError
from gemma3n.layers import RMSNorm
from gemma3n.recompute import run


class Conformer(nn.Module):
    """The audio tower: subsampling, conformer blocks, and every fourth frame of their result."""

    recompute = False  # blocks, see `gemma3n.recompute`

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        _check_settings(config)
        self.config = config
        self.chunks = Chunks(config)
        self.subsample_conv_projection = Subsample(config)
        self.conformer = nn.ModuleList(Block(config) for _ in range(config.conf_num_hidden_layers))

    def forward(
        self, mels: Tensor, mask: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips, one feature a soft token.

        Args:
            mels: [batch, frames, bins], natural log
            mask: [batch, frames], True = real
            lengths: [batch], frames each clip has of its own. With them a clip's features do not
                depend on its batch mates. None does as the reference, whose convolutions reach a
                few frames into the padding.

        Returns:
            Features [batch, tokens, hidden], zero where padded, and their mask [batch, tokens],
            True = real; a clip has `mel.tokens_for` of them.

        Raises:
            InputError: shapes do not fit each other or the tower.
        """
        x, mask = self.frames(mels, mask, lengths, every=self.config.conf_reduction_factor)
        return x.masked_fill(~mask[:, :, None], 0), mask

    def frames(
        self, mels: Tensor, mask: Tensor, lengths: Tensor | None = None, every: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch at the blocks' own rate, 40 ms a frame.

        Args:
            mels: [batch, frames, bins], natural log
            mask: [batch, frames], True = real
            lengths: [batch], see `forward`
            every: of how many frames one is kept.

        Returns:
            [batch, frames / 4 / every, hidden], garbage where padded, and their mask, True = real.
        """
        _check_input(mels, mask, self.config)
        x = self.subsample_conv_projection(mels, lengths)
        for time_stride, _ in self.config.sscp_conv_stride_size:
            mask = mask[:, ::time_stride]
        visible = self.chunks.visible(mask)
        sinusoids = self.chunks.sinusoids(x.shape[2], like=x)
        for i, block in enumerate(self.conformer, 1):
            # After the last convolution over time, frames that are not kept matter no more.
            last = i == len(self.conformer)
            kept = every if last else 1
            x = run(block, self.recompute, x, mask, visible, sinusoids, kept)
        return x, mask[:, ::every]


class Block(nn.Module):
    """Half a FFN, attention, convolution, half a FFN, each around a residual; then a norm."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.bound = config.gradient_clipping
        self.ffw_layer_start = FeedForward(config)
        self.attention = Attention(config)
        self.lconv1d = LightConv(config)
        self.ffw_layer_end = FeedForward(config)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, mask: Tensor, visible: Tensor, sinusoids: Tensor, every: int = 1
    ) -> Tensor:
        """Apply the block.

        Args:
            x: [batch, frames, hidden]
            mask: [batch, frames], True = real
            visible: [batch, chunks, size, context], see `ChunkedAttention`
            sinusoids: [distances, hidden], see `ChunkedAttention`
            every: of how many frames one is kept.

        Returns:
            [batch, frames / every, hidden]
        """
        x = self.ffw_layer_start(x)
        x = self.attention(x, visible, sinusoids)
        x = x.masked_fill(~mask[:, :, None], 0)  # the convolution must not read padding
        x = self.lconv1d(x)[:, ::every]
        x = self.ffw_layer_end(x)
        return self.norm(_clamp(x, self.bound))


class FeedForward(nn.Module):
    """FFN of four times the width, added at a fraction."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.bound = config.gradient_clipping
        self.fraction = config.conf_residual_weight
        self.pre_layer_norm = RMSNorm(hidden, eps)
        self.ffw_layer_1 = nn.Linear(hidden, 4 * hidden, bias=False)
        self.ffw_layer_2 = nn.Linear(4 * hidden, hidden, bias=False)
        self.post_layer_norm = RMSNorm(hidden, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, hidden] -> the same shape."""
        y = self.pre_layer_norm(_clamp(x, self.bound))
        y = self.ffw_layer_2(F.silu(self.ffw_layer_1(y)))
        y = self.post_layer_norm(_clamp(y, self.bound))
        return torch.add(x, y, alpha=self.fraction)


class Attention(nn.Module):
    """Chunked attention and its output projection, around a residual."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.bound = config.gradient_clipping
        self.pre_attn_norm = RMSNorm(hidden, eps)
        self.attn = ChunkedAttention(config)
        self.post = nn.Linear(hidden, hidden, bias=False)
        self.post_norm = RMSNorm(hidden, eps)

    def forward(self, x: Tensor, visible: Tensor, sinusoids: Tensor) -> Tensor:
        """[batch, frames, hidden] -> the same shape; see `ChunkedAttention`."""
        y = self.pre_attn_norm(_clamp(x, self.bound))
        y = self.post(self.attn(y, visible, sinusoids))
        return x + self.post_norm(_clamp(y, self.bound))


class LightConv(nn.Module):
    """Gated linear, causal depthwise convolution over time, linear, around a residual."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.bound = config.gradient_clipping
        self.pre_layer_norm = RMSNorm(hidden, eps)
        self.linear_start = nn.Linear(hidden, 2 * hidden, bias=False)
        self.depthwise_conv1d = nn.Conv1d(
            hidden, hidden, config.conf_conv_kernel_size, groups=hidden, bias=False
        )
        self.conv_norm = RMSNorm(hidden, eps)
        self.linear_end = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, hidden] -> the same shape."""
        y = F.glu(self.linear_start(self.pre_layer_norm(x)))
        y = F.pad(y, (0, 0, self.depthwise_conv1d.kernel_size[0] - 1, 0))
        # As a convolution of height 1 it reads channels last, as they are: 4 times faster.
        weight = self.depthwise_conv1d.weight[:, :, None]
        y = F.conv2d(y.mT[:, :, None], weight, groups=len(weight))[:, :, 0].mT
        y = F.silu(self.conv_norm(_clamp(y, self.bound)))
        return x + self.linear_end(y)


def _clamp(x: Tensor, bound: float) -> Tensor:
    bound = min(bound, torch.finfo(x.dtype).max)
    return x.clamp(-bound, bound)


def _check_settings(config: AudioConfig) -> None:
    for name in (
        "conf_num_hidden_layers",
        "conf_num_attention_heads",
        "conf_attention_chunk_size",
        "conf_attention_context_left",  # a query sees its own frame
        "conf_conv_kernel_size",
        "conf_reduction_factor",
    ):
        if getattr(config, name) < 1:
            raise SettingsError(
                f"audio_config has {name}={getattr(config, name)}; it must be 1 or more. "
                "Correct config.json."
            )
    if config.conf_attention_context_right < 0:
        raise SettingsError(
            f"audio_config has conf_attention_context_right={config.conf_attention_context_right}; "
            "it must be 0 or more. Correct config.json."
        )
    if config.hidden_size % 2 or config.hidden_size % config.conf_num_attention_heads:
        raise SettingsError(
            f"audio_config has hidden_size={config.hidden_size} for "
            f"{config.conf_num_attention_heads} heads; it must be even and a multiple of the "
            "heads. Correct config.json."
        )


def _check_input(mels: Tensor, mask: Tensor, config: AudioConfig) -> None:
    if mels.ndim != 3 or mels.shape[2] != config.input_feat_size or not mels.shape[1]:
        raise InputError(
            f"mels have shape {list(mels.shape)}; the audio tower reads [batch, frames, "
            f"{config.input_feat_size}], one frame or more. Make them with `log_mel`."
        )
    if mask.shape != mels.shape[:2] or mask.dtype != torch.bool:
        raise InputError(
            f"mask is {mask.dtype} of shape {list(mask.shape)} for mels {list(mels.shape)}; it is "
            "bool [batch, frames], True where a frame is real. Make one entry per frame."
        )
