"""Grouped-query attention with RoPE, a sliding window, and K/V shared from an earlier layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.config import FULL, SLIDING, TextConfig
from gemma3n.layers import RMSNorm
from gemma3n.linear import Linear
from gemma3n.text.cache import CachedRows, Step

KV = tuple[Tensor, Tensor]  # keys, values: each [batch, keys, kv_heads, head_dim]


class Attention(nn.Module):
    """Attention of one decoder layer. Scores are not scaled: the norms of q and k do that."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        heads, kv_heads, dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.dim = dim
        self.grouped = heads != kv_heads
        self.q_proj = Linear(config.hidden_size, heads * dim)
        self.q_norm = RMSNorm(dim, config.rms_norm_eps)
        self.o_proj = Linear(heads * dim, config.hidden_size)
        # Released files carry K/V weights of KV-sharing layers too; using them would be wrong.
        self.owns = config.kv_source(layer) == layer
        if self.owns:
            self.k_proj = Linear(config.hidden_size, kv_heads * dim)
            self.v_proj = Linear(config.hidden_size, kv_heads * dim)
            self.k_norm = RMSNorm(dim, config.rms_norm_eps)
            self.v_norm = RMSNorm(dim, config.rms_norm_eps, gain=False)

    def keys_values(self, x: Tensor, rope: Tensor) -> KV:
        """This layer's own keys and values.

        Args:
            x: [batch, seq, hidden], normed.
            rope: [2, batch, seq, 1, head_dim], from `rope_table`.
        """
        key = self.k_norm(self.k_proj(x).unflatten(-1, (-1, self.dim)))
        value = self.v_norm(self.v_proj(x).unflatten(-1, (-1, self.dim)))
        return rotate(key, rope), value

    def query(self, x: Tensor, rope: Tensor) -> Tensor:
        """This layer's queries [batch, seq, heads, head_dim], as `keys_values` makes keys."""
        return rotate(self.q_norm(self.q_proj(x).unflatten(-1, (-1, self.dim))), rope)

    def forward(self, query: Tensor, mask: Tensor, kv: KV) -> Tensor:
        """Attend with the given keys and values.

        Args:
            query: [batch, seq, heads, head_dim], from `query`.
            mask: [batch, 1, seq, keys], True = may attend.
            kv: own keys and values, or an earlier layer's.

        Returns:
            [batch, seq, heads * head_dim], which `o_proj` reads.
        """
        key, value = (part.transpose(1, 2) for part in kv)  # [batch, kv_heads, keys, head_dim]
        if self.grouped and query.shape[1] == 1:
            # Heads that share keys as queries of one head: these are read once, and not for each.
            heads = query.reshape(len(query), key.shape[1], -1, self.dim)
            attended = F.scaled_dot_product_attention(heads, key, value, attn_mask=mask, scale=1.0)
            return attended.reshape(len(query), 1, -1)
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key,
            value,
            attn_mask=mask,
            scale=1.0,
            enable_gqa=self.grouped,
        )  # [batch, heads, seq, head_dim]
        return attended.transpose(1, 2).flatten(2)


def rope_table(positions: Tensor, theta: float, dim: int, dtype: torch.dtype) -> Tensor:
    """Cosines and sines of rotary position embeddings (arXiv 2104.09864), half-split layout.

    Args:
        positions: int64 [batch, seq]
        theta: base frequency.
        dim: head_dim.
        dtype: of the activations; angles are float32 all the same.

    Returns:
        [2, batch, seq, 1, head_dim]
    """
    even = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * theta ** (-even / dim)  # [batch, seq, dim / 2]
    angles = torch.cat([angles, angles], -1).unsqueeze(-2)
    return torch.stack([angles.cos(), angles.sin()]).to(dtype)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate `x` [batch, seq, heads, head_dim] by its positions' angles."""
    first, second = x.chunk(2, -1)
    return x * rope[0] + torch.cat([-second, first], -1) * rope[1]


def attention_masks(
    positions: Tensor, steps: dict[str, Step], window: int, row_of: Tensor | None = None
) -> dict[str, Tensor]:
    """What each query may attend to, by layer type; True = may.

    Args:
        positions: int64 [batch, seq] of the queries, -1 for padding.
        steps: from `CachedRows.begin`, or `whole_sequence` without a cache.
        window: positions a local layer may see, its own included.
        row_of: int64 [batch, seq], the row that each token is of, where rows share a sequence: it
            sees no other; None for one row a sequence.

    Returns:
        Masks [batch, 1, seq, keys].
    """
    masks = {}
    for kind, step in steps.items():
        query, key = positions[:, None, :, None], step.seen[:, None, None, :]
        mask = (key >= 0) & (key <= query)
        if kind == SLIDING:
            mask = mask & (key > query - window)
        if row_of is not None:
            mask = mask & (row_of[:, None, :, None] == row_of[:, None, None, :])
        # Padding sees everything rather than nothing: no backend may make NaN of it, which would
        # reach real rows through their zero weights. Nobody reads what padding computes.
        masks[kind] = mask | (query < 0)
    return masks


def whole_sequence(positions: Tensor) -> dict[str, Step]:
    """The `Step` of a pass without a cache: all tokens see the sequence itself."""
    step = Step(positions, 0, positions.shape[1], positions)
    return {SLIDING: step, FULL: step}


def remember(cache: CachedRows | None, layer: int, own: KV | None, step: Step) -> KV:
    """A layer's new keys and values joined with the earlier ones of the cache, if there is one."""
    assert own is not None, f"layer {layer} shares keys and values"
    return own if cache is None else cache.update(layer, *own, step)


def shared(kv: KV, own: KV | None) -> KV:
    """Keys and values of an earlier layer, for one without its own."""
    assert own is None
    return kv
