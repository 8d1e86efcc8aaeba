"""Products of our own with packed weights, for x86 processors with AVX-512 (CPU).

A few tokens read every weight once, and memory is all they should wait for. Measured with two
threads on AVX512-BF16 and VNNI whose memory is read at 35 GB/s, 2048 -> 8192: 1, 4 and 8 rows read
int8 at 33, 31 and 33 GB/s (oneDNN: 22, 23 and 20), bfloat16 at 31, 29 and 25 (24, 23 and 19), int4
at 35, 30 and 17 (torch's kernel: 21, 13, and an int8 copy 10); 512 rows take as long as oneDNN's.
With AMX, for which these are not written, oneDNN's are faster.

Rows do not depend on which others are computed with them, in any bit.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.choices import Precision
from gemma3n.native.build import found_compiler, is_loaded
from gemma3n.rounded import GROUP
from gemma3n.rounding import from_int4, from_int8, int4_steps, to_int4, to_int8
from gemma3n.routes.blocks import Block

_OUTPUTS = 32  # that lie together
_RUN = 4  # bytes of one output that lie together
_SAMPLE = 96  # inputs of what is tried
# What `torch.cpu.get_capabilities` calls the instructions, and those that are better still.
_NEEDED = {
    Precision.int8: ("avx512_vnni", "amx_int8"),
    Precision.int4: ("avx512_vnni", ""),
    Precision.bfloat16: ("avx512_bf16", "amx_bf16"),
}
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")
_ROUNDED = ("rounded", (*_AVX512, "-mavx512vnni"))
_BFLOAT16 = ("bfloat16", (*_AVX512, "-mavx512bf16"))


class NativeInt8:
    """An int8 weight; a `Block`.

    Args:
        weight: int8 [rows, columns]
        scale: float32 [rows]
    """

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self.weight = _by_outputs(weight)
        self.scale = scale.contiguous()
        self.offset = torch.ops.gemma3n_rounded.offsets(self.weight)

    @property
    def bytes(self) -> int:
        """Of weight and scales, what the layout adds aside."""
        return self.weight.nbytes + self.scale.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """See `Block`."""
        product = torch.ops.gemma3n_rounded.int8_product
        found = product(x.float().flatten(0, -2), self.weight, self.scale, self.offset)
        return found.to(x.dtype).unflatten(0, x.shape[:-1])


class NativeInt4:
    """An int4 weight, multiplied with tokens that are rounded to int8; a `Block`.

    Args:
        packed: uint8 [rows, columns / 2], see `gemma3n.rounding`.
        scale: bfloat16 [rows, columns / 32]
        zero: the same shape and dtype.
    """

    def __init__(self, packed: Tensor, scale: Tensor, zero: Tensor) -> None:
        rows, groups = scale.shape
        self.shape = (rows, groups * GROUP)
        # A byte has the weights of two runs of inputs: the one's in its lower half.
        runs = int4_steps(packed).view(-1, _OUTPUTS, groups, GROUP // (2 * _RUN), 2, _RUN)
        low, high = runs.permute(4, 0, 2, 3, 1, 5)
        parts = [(low | high << 4).flatten(2)]
        for each in (scale, zero):
            of_group = each.view(-1, _OUTPUTS, groups).transpose(1, 2)
            parts.append(of_group.contiguous().view(torch.uint8))
        self.weight = torch.cat(parts, -1)  # [blocks, groups, bytes]

    @property
    def bytes(self) -> int:
        """Of weight, scales and zeros."""
        return self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """See `Block`."""
        found = torch.ops.gemma3n_rounded.int4_product(x.float().flatten(0, -2), self.weight)
        return found.to(x.dtype).unflatten(0, x.shape[:-1])


class NativeBfloat16:
    """A bfloat16 weight; a `Block`.

    Args:
        weight: bfloat16 [rows, columns]
    """

    def __init__(self, weight: Tensor) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self.weight = _by_outputs(weight)

    @property
    def bytes(self) -> int:
        """Of the weight."""
        return self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """See `Block`; the product is taken in bfloat16."""
        product = torch.ops.gemma3n_bfloat16.product
        found = product(x.bfloat16().flatten(0, -2), self.weight)
        return found.to(x.dtype).unflatten(0, x.shape[:-1])


def suits(precision: Precision) -> bool:
    """Whether this processor has the instructions, and none that others use better."""
    # Came with torch 2.10 or so.
    has = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    needed, better = _NEEDED.get(precision, ("", ""))
    return bool(has.get(needed)) and not has.get(better)


def fits(precision: Precision, rows: int, columns: int) -> bool:
    """Whether a weight of such a shape and precision can have a product here; builds nothing."""
    divides = rows % _OUTPUTS == 0 and columns % GROUP == 0
    return divides and suits(precision) and found_compiler() is not None


def takes(precision: Precision, rows: int, columns: int) -> bool:
    """Whether it has one; builds it if need be."""
    return fits(precision, rows, columns) and _is_right(precision)


@cache
def _is_right(precision: Precision) -> bool:
    """Build the products of a precision, and try one."""
    name, flags = _BFLOAT16 if precision is Precision.bfloat16 else _ROUNDED
    if not is_loaded(name, flags):
        return False
    for operator, shape in _SHAPES[name].items():
        torch.library.register_fake(f"gemma3n_{name}::{operator}", shape, allow_override=True)
    # Whole numbers, 127 the largest: rounded to int8 they stay what they are.
    tokens = torch.arange(11 * _SAMPLE).view(11, _SAMPLE) % 255 - 127.0
    weight = torch.arange(2 * _OUTPUTS * _SAMPLE).view(-1, _SAMPLE) % 15 - 7.0
    tokens[:, 0], weight[:, 0] = 127, 7
    block: Block
    if precision is Precision.int8:
        whole, scale = to_int8(weight)
        block, exact = NativeInt8(whole, scale), from_int8(whole, scale)
    elif precision is Precision.int4:
        packed, scale, zero = to_int4(weight)
        block, exact = NativeInt4(packed, scale, zero), from_int4(packed, scale, zero, weight.dtype)
    else:
        block, exact = NativeBfloat16(weight.bfloat16()), weight
    return torch.allclose(block(tokens), F.linear(tokens, exact), rtol=0.01, atol=1)


def _by_outputs(weight: Tensor) -> Tensor:
    """[rows, columns] -> [blocks, runs, outputs, inputs], as they are read."""
    runs = weight.contiguous().view(torch.int32).view(len(weight) // _OUTPUTS, _OUTPUTS, -1)
    return runs.transpose(1, 2).contiguous()[..., None].view(weight.dtype)


def _shape_of_int8(x: Tensor, weight: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], scales.shape[0]))


def _shape_by_blocks(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0] * _OUTPUTS))


_SHAPES: dict[str, dict[str, Callable[..., Tensor]]] = {
    "rounded": {"int8_product": _shape_of_int8, "int4_product": _shape_by_blocks},
    "bfloat16": {"product": _shape_by_blocks},
}
