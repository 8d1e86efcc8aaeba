"""int4 weights with a scale for each 32 inputs, for one or two rows at a time (CPU).

A single row reads its weights, so fewer bits are faster; the kernel multiplies slowly, though. More
rows take another route: an int8 copy, or, to save its memory, the weight brought back to bfloat16
piece by piece. Measured on AVX512-BF16, 2048 -> 8192. Two threads, int4 and int8: 1 row 273 and
400 µs, 8 rows 906 and 469. One thread, int4 kernel and pieces: 32 rows 18 and 36 ms, 128 rows 69
and 43 ms.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.rounded import GROUP
from gemma3n.rounding import MIDDLE, from_int4, int4_steps, to_int8
from gemma3n.routes.int8 import Int8

FEW = 2  # rows up to which the kernel is faster than an int8 copy
SOME = 64  # rows up to which it is faster than bringing the weight back
_ROWS = 16  # the kernel takes multiples of so many outputs
_TILE = 64  # outputs that lie together in its layout
_PIECE = 1 << 19  # weights brought back at a time, so that they are still in cache when used


class Int4:
    """An int4 weight; a `Block`.

    Args:
        packed: uint8 [rows, columns / 2], see `gemma3n.rounding`.
        scale: bfloat16 [rows, columns / 32]
        zero: the same shape and dtype.
        copy: keep an int8 copy for more than two rows at a time.
    """

    def __init__(self, packed: Tensor, scale: Tensor, zero: Tensor, copy: bool = True) -> None:
        self.shape = (packed.shape[0], packed.shape[1] * 2)
        self.kernel: tuple[Tensor, Tensor] | None = None  # weight and scales, as it wants them
        self.copy: Int8 | None = None
        self.plain: tuple[Tensor, Tensor, Tensor] | None = None
        on_cpu = packed.device.type == "cpu"
        if on_cpu and self.shape[0] % _ROWS == 0 and is_available():
            self.kernel = (_kernel_weight(packed), _kernel_scales(scale, zero))
        if on_cpu and copy:
            self.copy = Int8(*to_int8(from_int4(packed, scale, zero, torch.float32)))
        elif self.kernel is None or self.shape[0] % _TILE or not is_readable():
            self.plain = (packed, scale, zero)

    @property
    def bytes(self) -> int:
        """Of all that is held."""
        copy = 0 if self.copy is None else self.copy.bytes
        return copy + sum(t.nbytes for t in (*(self.kernel or ()), *(self.plain or ())))

    def __call__(self, x: Tensor) -> Tensor:
        """See `Block`."""
        rows = x.numel() // self.shape[1]
        if self.kernel is not None and rows <= (SOME if self.copy is None else FEW):
            found = _multiply(x.reshape(-1, self.shape[1]).bfloat16(), *self.kernel)
            return found.to(x.dtype).view(*x.shape[:-1], self.shape[0])
        if self.copy is not None:
            return self.copy(x)
        if self.plain is not None:
            return self._by_pieces(x)
        tokens = x.reshape(-1, self.shape[1]).bfloat16()
        return self._by_tiles(tokens).to(x.dtype).view(*x.shape[:-1], self.shape[0])

    def _by_pieces(self, x: Tensor) -> Tensor:
        assert self.plain is not None
        each = max(1, _PIECE // self.shape[1])
        parts = zip(*(t.split(each) for t in self.plain), strict=True)
        weights = (from_int4(packed, scale, zero, x.dtype) for packed, scale, zero in parts)
        return torch.cat([F.linear(x, weight) for weight in weights], -1)

    def _by_tiles(self, tokens: Tensor) -> Tensor:
        assert self.kernel is not None
        each = max(1, _PIECE // (self.shape[1] * _TILE))
        weight, scales = _tiles(*self.kernel)
        found = [
            torch.matmul(tokens, _brought_back(w, s)).transpose(0, 1).flatten(1)
            for w, s in zip(weight.split(each), scales.split(each), strict=True)
        ]
        return torch.cat(found, -1)


@cache
def is_available() -> bool:
    """Whether torch's int4 kernel is there and right; its operators are private."""
    packed, scale, zero, x = _sample(_ROWS)
    exact = F.linear(x.float(), from_int4(packed, scale, zero, torch.float32))
    try:
        found = _multiply(x, _kernel_weight(packed), _kernel_scales(scale, zero))
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found.float(), exact, rtol=0.05, atol=0.5)


@cache
def is_readable() -> bool:
    """Whether the kernel's own layout, which differs between processors, is the one known here."""
    packed, scale, zero, _ = _sample(2 * _TILE)
    tiles = _tiles(_kernel_weight(packed), _kernel_scales(scale, zero))
    found = _brought_back(*tiles).transpose(1, 2).flatten(0, 1)
    exact = from_int4(packed, scale, zero, torch.float32)
    return torch.allclose(found.float(), exact, rtol=0.01, atol=0.05)


def _sample(rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Any weight of so many rows, with scales and zeros, and two rows of activations."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.randint(0, 256, (rows, GROUP), dtype=torch.uint8, generator=generator)
    scale, zero = torch.rand((2, rows, 2), generator=generator).bfloat16()
    return packed, scale, zero, torch.rand((2, 2 * GROUP), generator=generator).bfloat16()


def _multiply(tokens: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    return torch.ops.aten._weight_int4pack_mm_for_cpu(tokens, weight, GROUP, scales)


def _kernel_weight(packed: Tensor) -> Tensor:
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(int4_steps(packed).int(), 1)


def _kernel_scales(scale: Tensor, zero: Tensor) -> Tensor:
    return torch.stack([scale, zero], -1).transpose(0, 1).contiguous()


def _tiles(weight: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel's weight as [tiles, columns, 32] bytes, its scales as [tiles, groups, 64, 2]."""
    by_tile = scales.unflatten(1, (-1, _TILE)).transpose(0, 1)
    return weight.view(len(by_tile), -1, _TILE // 2), by_tile


def _brought_back(weight: Tensor, scales: Tensor) -> Tensor:
    """Some tiles, as bfloat16 [tiles, columns, 64]."""
    # A byte holds output i of a tile in its lower half, and output i + 32.
    steps = torch.cat([weight & 15, weight >> 4], -1).view(torch.int8).sub_(MIDDLE)
    scale, zero = (part.contiguous()[:, :, None] for part in scales.unbind(-1))
    return zero.addcmul(steps.bfloat16().unflatten(1, (-1, GROUP)), scale).flatten(1, 2)
