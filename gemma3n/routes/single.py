"""Products of a single token with weights as they lie in their file, in compiled graphs.

A single token reads every weight once. A loop that torch compiles keeps reading, and the libraries'
products, made for many tokens, do not. Measured with two threads on AVX512-BF16, 2048 -> 8192 from
a mapped file in bfloat16: 29 GB/s, and 16 to 19 by `F.linear`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def product(x: Tensor, weight: Tensor) -> Tensor:
    """[..., columns] times a floating-point weight [rows, columns] -> [..., rows]."""
    if torch.compiler.is_compiling() and is_single(x):
        return summed(weight, x.float()).to(x.dtype)
    return F.linear(x, weight)


def is_single(x: Tensor) -> bool:
    """Whether [..., columns] is one token, on a CPU."""
    return x.device.type == "cpu" and x.numel() == x.shape[-1]


def summed(weight: Tensor, x: Tensor) -> Tensor:
    """The product with one token, float32 [..., columns] -> [..., rows], summed in float32."""
    return (weight.float() * x.reshape(-1)).sum(-1).view(*x.shape[:-1], -1)
