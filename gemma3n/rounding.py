"""Weights -> int8 or int4 and scales, rounded to nearest; and back.

int8 has one scale an output (row). int4 has a scale and a zero for each 32 inputs of a row, both
bfloat16: `weight = (q - 8) * scale + zero`, q from 0 to 15, two of them a byte, the first in its
lower half. No weight moves by more than half of its scale.
"""

import torch
from torch import Tensor

from gemma3n.rounded import GROUP

_INT8 = 127
MIDDLE, _INT4 = 8, 15  # q of `zero`, and the highest q
_TINY = 1e-30  # a row or group of zeros has this scale, and stays zeros


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [rows, columns] -> int8 of the same shape, and float32 scales [rows]."""
    exact = weight.float()
    scale = exact.abs().amax(-1).clamp_min(_TINY) / _INT8
    return (exact / scale[:, None]).round_().clamp_(-_INT8, _INT8).to(torch.int8), scale


def from_int8(weight: Tensor, scale: Tensor) -> Tensor:
    """What `to_int8` made, as float32 [rows, columns]."""
    return weight.float() * scale[:, None]


def to_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight [rows, columns], columns a multiple of 32, -> int4.

    Returns:
        uint8 [rows, columns / 2], and bfloat16 scales and zeros [rows, columns / 32].
    """
    groups = weight.float().unflatten(1, (-1, GROUP))
    scale, zero = int4_range(groups)
    q = int4_units(groups, scale[..., None], zero[..., None]).to(torch.uint8).flatten(1)
    return packed_pairs(q), scale, zero


def int4_range(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and zeros, bfloat16 [...], that reach all of float32 [..., group]."""
    low, high = groups.aminmax(dim=-1)
    zero = (low + (high - low) * (MIDDLE / _INT4)).bfloat16()
    reached = zero.float()
    # Both ends must stay in reach of a scale and a zero that bfloat16 has rounded.
    needed = torch.maximum((high - reached) / (_INT4 - MIDDLE), (reached - low) / MIDDLE)
    return _rounded_up(needed.clamp_min(_TINY)), zero


def int4_units(weights: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The q of float32 weights, 0 to 15, for scales and zeros of their own; float32."""
    steps = (weights - zero.float()) / scale.float()
    return steps.round_().add_(MIDDLE).clamp_(0, _INT4)


def packed_pairs(q: Tensor) -> Tensor:
    """uint8 [rows, columns] of 0 to 15 -> [rows, columns / 2]."""
    return q[:, ::2] | (q[:, 1::2] << 4)


def from_int4(packed: Tensor, scale: Tensor, zero: Tensor, dtype: torch.dtype) -> Tensor:
    """What `to_int4` made, as [rows, columns] of some dtype."""
    groups = int4_steps(packed).to(dtype).unflatten(1, (-1, GROUP)) - MIDDLE
    return (groups * scale.to(dtype)[..., None] + zero.to(dtype)[..., None]).flatten(1)


def int4_steps(packed: Tensor) -> Tensor:
    """uint8 [rows, columns / 2] -> uint8 [rows, columns] of 0 to 15."""
    return torch.stack([packed & 15, packed >> 4], -1).flatten(1)


def _rounded_up(x: Tensor) -> Tensor:
    """The least bfloat16 that is not below positive float32 `x`."""
    near = x.bfloat16()
    return torch.where(near.float() < x, (near.view(torch.int16) + 1).view(torch.bfloat16), near)
