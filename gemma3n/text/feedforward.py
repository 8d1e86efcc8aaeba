"""Nested gated FFN, MatFormer §3 (arXiv 2310.07707), with activation sparsity (2506.06644)."""

from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.layers import rounded
from gemma3n.linear import Linear


class FeedForward(nn.Module):
    """Gated FFN whose first `width` units are themselves a trained FFN.

    A nested size is a prefix of the weights, never a copy.

    Args:
        hidden: width of the residual stream.
        width: FFN units held.
        sparsity: share of the gate that is cut to exact zero for each token, 0 for none.
    """

    def __init__(self, hidden: int, width: int, sparsity: float = 0.0) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden, width)
        self.up_proj = Linear(hidden, width)
        self.down_proj = Linear(width, hidden)
        self.cutoff = NormalDist().inv_cdf(sparsity) if sparsity > 0 else None

    def forward(self, x: Tensor, width: int | None = None) -> Tensor:
        """Apply the FFN at one nested size.

        Args:
            x: [batch, seq, hidden]
            width: FFN units to use, from 1 to the layer's own; None uses all.

        Returns:
            [batch, seq, hidden]

        Raises:
            ValueError: the layer holds fewer than `width` units.
        """
        full = self.gate_proj.out_features
        width = full if width is None else width
        if not 1 <= width <= full:
            raise ValueError(
                f"width={width}, but this layer holds 1 to {full} FFN units. "
                "Load a larger nested size, or pick one that fits."
            )
        used = range(width)
        gate = self.gate_proj(x, used)  # [batch, seq, width]
        up = self.up_proj(x, used)  # [batch, seq, width]
        if self.cutoff is not None:
            gate = shifted_top(gate, self.cutoff)
        # down_proj reads as many columns, so what was cut contributes exactly zero.
        return self.down_proj(F.gelu(gate, approximate="tanh") * up)


def shifted_top(gate: Tensor, cutoff: float) -> Tensor:
    """Keep what lies `cutoff` standard deviations above the token's mean, shifted down to zero.

    Args:
        gate: [..., width]; the statistics are over the units in use, so a nested size has its own.
        cutoff: in population standard deviations (1.645 keeps about 5 % of a Gaussian).
    """
    # Two-pass moments in one call; population, as published: width - 1 shows in small models.
    std, mean = torch.std_mean(gate, dim=-1, keepdim=True, correction=0)
    return F.relu(gate - (mean + std * rounded(cutoff, gate.dtype)))
