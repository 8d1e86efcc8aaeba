"""Floating-point weights in the layout oneDNN multiplies fastest with (CPU).

A plain weight is read at less than half the memory's speed by a single row. Measured with two
threads on AVX512-BF16, 2048 -> 8192 in bfloat16: 1 row 1241 µs plain and 520 µs packed, 32 rows
2101 and 1618 µs, 256 rows the same.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.routes.operators import in_company, packed_product


class Packed:
    """A private copy of a weight, packed; a `Block`.

    Args:
        weight: [rows, columns], on the CPU, of a dtype for which `is_available`.
    """

    def __init__(self, weight: Tensor) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self.dtype = weight.dtype
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())

    @property
    def bytes(self) -> int:
        """Of the copy, padding of its layout aside."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __call__(self, x: Tensor) -> Tensor:
        """See `Block`; the product is taken in the weight's dtype."""
        tokens = x.flatten(0, -2).to(self.dtype)
        found = packed_product(in_company(tokens), self.weight, self.shape[0])
        return found[: tokens.shape[0]].to(x.dtype).unflatten(0, x.shape[:-1])


@cache
def is_available(dtype: torch.dtype) -> bool:
    """Whether this torch build and processor do it, and rightly: these operators are private."""
    weight = torch.arange(-24, 24, dtype=dtype).view(12, 4)
    x = torch.arange(8, dtype=dtype).view(2, 4)
    try:
        return torch.equal(Packed(weight)(x), F.linear(x, weight))
    except (AttributeError, RuntimeError):
        return False
