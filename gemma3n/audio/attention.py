"""Conformer frames -> what each attends to among its neighbours: chunked local attention.

Frames are cut into chunks of `size`; a chunk's queries share one context of keys, from `past`
frames before it to `future` after it, so that no score is computed far from the diagonal. Relative
positions as in Transformer-XL §3.3 (arXiv 1901.02860), without its two bias vectors.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.config import AudioConfig
from gemma3n.layers import rounded

_LONGEST_WAVE = 1e4  # of the position sinusoids, in frames per radian; the shortest is 1


class Chunks:
    """How a sequence is cut; the sizes are frames, and `context` is past + size + future."""

    def __init__(self, config: AudioConfig) -> None:
        self.size = config.conf_attention_chunk_size
        self.past = config.conf_attention_context_left - 1  # the query's own frame is counted
        self.future = config.conf_attention_context_right
        self.context = self.past + self.size + self.future

    def cut(self, x: Tensor) -> Tensor:
        """[batch, frames, ...] -> [batch, chunks, size, ...]; the last is filled with zeros."""
        return _pad(x, 0, -x.shape[1] % self.size).unflatten(1, (-1, self.size))

    def contexts(self, x: Tensor) -> Tensor:
        """[batch, frames, ...] -> [batch, chunks, context, ...], overlapping, zeros outside."""
        filled = _pad(x, self.past, self.future + -x.shape[1] % self.size)
        return filled.unfold(1, self.context, self.size).movedim(-1, 2)

    def visible(self, mask: Tensor) -> Tensor:
        """Which slot of its context each query may see.

        Args:
            mask: [batch, frames], True = real

        Returns:
            [batch, chunks, size, context], True = may attend
        """
        query = torch.arange(self.size, device=mask.device)[:, None]
        behind = query + self.past - torch.arange(self.context, device=mask.device)
        near = (behind >= -self.future) & (behind <= self.past)  # [size, context]
        return self.contexts(mask)[:, :, None] & near

    def sinusoids(self, width: int, like: Tensor) -> Tensor:
        """[past + 1 + future, width]: how far behind the query a key is, the farthest first."""
        behind = torch.arange(self.past, -self.future - 1, -1, device=like.device)
        waves = width // 2
        step = math.log(_LONGEST_WAVE) / max(waves - 1, 1)
        rates = torch.exp(torch.arange(waves, device=like.device) * -step)
        angles = behind[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)


class ChunkedAttention(nn.Module):
    """Multi-head attention within `Chunks`, with a learned scale per head dimension."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, self.heads = config.hidden_size, config.conf_num_attention_heads
        self.chunks = Chunks(config)
        self.cap = config.conf_attention_logit_cap
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.per_dim_scale = nn.Parameter(torch.zeros(hidden // self.heads))
        self.relative_position_embedding = RelativePosition(config)

    def forward(self, x: Tensor, visible: Tensor, sinusoids: Tensor) -> Tensor:
        """Attend.

        Args:
            x: [batch, frames, hidden]
            visible: [batch, chunks, size, context], from `Chunks.visible`
            sinusoids: [distances, hidden], from `Chunks.sinusoids`

        Returns:
            [batch, frames, hidden], the heads side by side; frames that see nothing hold garbage.
        """
        q = self.q_proj(x).unflatten(2, (self.heads, -1))  # [batch, frames, heads, head_dim]
        # A per_dim_scale of zero gives the usual head_dim ** -0.5.
        scale = rounded(q.shape[-1] ** -0.5 / math.log(2), x.dtype)
        q = q * (scale * F.softplus(self.per_dim_scale))
        q = self.chunks.cut(q)  # [batch, chunks, size, heads, head_dim]
        # Heads are moved before the product: copying keys as rows is cheaper than as columns.
        k, v = (  # [batch, chunks, heads, context, head_dim]
            self.chunks.contexts(project(x)).unflatten(3, (self.heads, -1)).transpose(2, 3)
            for project in (self.k_proj, self.v_proj)
        )
        k = k.contiguous()

        scores = q.transpose(2, 3) @ k.mT + self.relative_position_embedding(q, sinusoids)
        scores = self.cap * torch.tanh(scores / self.cap)  # [batch, chunks, heads, size, context]
        scores = scores.masked_fill(~visible[:, :, None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1, dtype=torch.float32).to(v.dtype)
        attended = (weights @ v).transpose(2, 3)  # [batch, chunks, size, heads, head_dim]
        return attended.flatten(3).flatten(1, 2)[:, : x.shape[1]]


class RelativePosition(nn.Module):
    """The part of a score that depends on how far behind the query its key is."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.heads = config.conf_num_attention_heads
        self.pos_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, q: Tensor, sinusoids: Tensor) -> Tensor:
        """Score each query against the distances.

        Args:
            q: [batch, chunks, size, heads, head_dim]
            sinusoids: [distances, hidden], the farthest behind first

        Returns:
            [batch, chunks, heads, size, context]; zero where a slot is out of the query's reach.
        """
        keys = self.pos_proj(sinusoids).unflatten(1, (self.heads, -1))
        scores = torch.einsum("bcshe,dhe->bchsd", q, keys)  # d: distances
        # Query w finds distance j in slot w + j. Rows one longer than a context, laid end to end
        # and cut to contexts, move one slot to the right each: no index, and no gather.
        size, distances = scores.shape[-2:]
        rows = F.pad(scores, (0, size)).flatten(-2)[..., :-size]
        return rows.unflatten(-1, (size, size + distances - 1))


def _pad(x: Tensor, before: int, after: int) -> Tensor:
    """Zeros around the second dimension of `x` [batch, frames, ...]."""
    return F.pad(x, (0, 0) * (x.ndim - 2) + (before, after))
