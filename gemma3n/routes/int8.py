"""int8 weights, one scale an output; activations rounded to int8 with one scale a token (CPU).

A token's scale comes from that token alone and sums are whole numbers, so that a row's result does
not depend, in any bit, on which other rows are computed with it. (In a compiled graph a plain
weight's product with a single token is summed in float32, exact up to 2^24.)

Measured with two threads, 2048 -> 8192. AVX512-VNNI and AMX: 1 row 400 µs, 8 rows 469, 32 rows 856,
256 rows 4781, where packed bfloat16 takes 520, 748, 1618 and 9885. AVX512-VNNI alone: 220, 427,
1411 and 10430.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.routes.operators import in_company, int8_product
from gemma3n.routes.single import is_single, summed

_LARGEST = 127  # -128 stays unused, so that the format is symmetric
# For a single row oneDNN has no fast product with a packed weight of few rows or columns (torch
# 2.13: 30 ms for 256 x 2048, 0.05 ms for 512 x 2048); the plain one is as good for so little.
_NARROW = 512
_ZERO = 128  # of an unsigned byte, what stands for 0
_PIECE = 1 << 24  # weights brought to another dtype at a time, for memory's sake
_TINY = 1e-30  # largest activation of a token that is taken for nothing


class Int8:
    """An int8 weight; a `Block`.

    On the CPU it is multiplied in int8, packed if asked for, else from where it lies. Elsewhere,
    or where torch lacks the operators, the weight is brought to the activations' dtype for each
    product: right, small, and not fast.

    Args:
        weight: int8 [rows, columns]
        scale: float32 [rows]
        pack: make a private copy in oneDNN's layout, if this machine has it and it is faster.
    """

    def __init__(self, weight: Tensor, scale: Tensor, pack: bool = True) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self.scale = scale.contiguous()  # the packed product reads it by its address
        on_cpu = weight.device.type == "cpu"
        wide = min(self.shape) >= _NARROW
        self.multiply = _packed if pack and wide and on_cpu and packs() else None
        if self.multiply is not None:
            weight = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
        elif on_cpu and self.shape[1] > 1 and multiplies():  # of one column it makes garbage
            self.multiply = _plain
        self.weight = weight

    @property
    def bytes(self) -> int:
        """Of weight and scales."""
        return self.shape[0] * (self.shape[1] + self.scale.element_size())

    def __call__(self, x: Tensor) -> Tensor:
        """See `Block`."""
        if self.multiply is None:
            each = max(1, _PIECE // self.weight.shape[1])
            parts = [F.linear(x, weight.to(x.dtype)) for weight in self.weight.split(each)]
            return torch.cat(parts, -1) * self.scale.to(x.dtype)
        rows = x.flatten(0, -2)
        tokens, token_scale = rounded_tokens(in_company(rows) if self.multiply is _packed else rows)
        product = self.multiply(tokens, self.weight, self.scale).mul_(token_scale)
        return product[: rows.shape[0]].to(x.dtype).unflatten(0, x.shape[:-1])


def rounded_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations [tokens, columns] -> int8 of the same shape, and float32 scales [tokens, 1]."""
    exact = x.float()
    largest = exact.abs().amax(-1, keepdim=True).clamp_min_(_TINY)  # ten times vector_norm's speed
    return (exact * (_LARGEST / largest)).round_().to(torch.int8), largest.mul_(1 / _LARGEST)


@cache
def packs() -> bool:
    """Whether oneDNN's int8 product is there and right; its operators are private."""
    return _is_right(pack=True)


@cache
def multiplies() -> bool:
    """Whether torch's plain int8 product is there and right; its operator is private."""
    return _is_right(pack=False)


def _is_right(pack: bool) -> bool:
    # Extremes: processors without instructions for it add products in 16 bits, which overflow.
    weight = torch.arange(-127, 128, 2, dtype=torch.int8).repeat(12, 1)
    weight[::3], weight[1::3] = _LARGEST, -_LARGEST
    tokens = weight[:3].clone()
    try:
        if pack:
            packed = torch.ops.onednn.qlinear_prepack(weight, None)
            found = _packed(tokens, packed, torch.ones(12))
        else:
            found = _plain(tokens, weight, torch.ones(12))
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(found, F.linear(tokens.float(), weight.float()))


def _packed(tokens: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    # Without AMX oneDNN multiplies signed by signed bytes in a reference kernel, 400 times slower.
    # The upper bit turned over, a byte is the same number counted from 128.
    unsigned = tokens.view(torch.uint8).bitwise_xor(_ZERO)
    return int8_product(unsigned, weight, scale, _ZERO)


def _plain(tokens: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    if torch.compiler.is_compiling() and is_single(tokens):
        return summed(weight, tokens.float()) * scale
    return torch._int_mm(tokens, weight.t()) * scale
