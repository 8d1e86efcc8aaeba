"""What two towers share."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Divides by the root mean square over the last dimension, in float32, then applies a gain.

    The gain is `weight`, not `1 + weight` as in Gemma 2 and 3.

    Args:
        size: length of the last dimension.
        eps: added to the mean square.
        gain: without it the module has no weight (values of attention, projected soft tokens).
    """

    def __init__(self, size: int, eps: float = 1e-6, gain: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size)) if gain else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` [..., size]; same shape and dtype out."""
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def rounded(value: float, dtype: torch.dtype) -> float:
    """`value` rounded to `dtype`: the published model keeps constants in the dtype of its weights.

    In bfloat16 the embedding scale sqrt(2048) is 45.25, for instance, and not 45.2548. It is
    computed without tensors, which would keep torch from saving the graphs that it is part of.
    """
    share, exponent = math.frexp(value)  # 0.5 <= share < 1
    steps = 2 / torch.finfo(dtype).eps
    return math.ldexp(round(share * steps) / steps, exponent)
