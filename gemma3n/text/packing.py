"""Rows of an embedding table <-> 8 or 4 bits a value, with a scale for each group of values.

A layer's columns of one row are a block of bytes: first its values, then its scales.

    bits=8: a signed byte a value                       | bfloat16 scales, one a group
    bits=4: two values a byte, the earlier one in the   |
            low four bits, each plus 8                  |

A group's scale is its largest magnitude over 127 (or 7), and zero is exact: the error of a value
is at most half a step. One block holds all that a row needs of a layer, so that a row is one read.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.errors import SettingsError
from gemma3n.placement import GROUP, block_bytes


@dataclass(frozen=True)
class Packing:
    """How rows are packed.

    Args:
        ple: values of one layer in one row.
        bits: of a value, 8 or 4.
        group: values that share a scale; the last group of a block may have fewer.
    """

    ple: int
    bits: int
    group: int = GROUP

    def __post_init__(self) -> None:
        if self.bits not in (8, 4):
            raise SettingsError(f"bits={self.bits}; rows are packed in 8 or 4. Choose one of them.")

    @property
    def value_bytes(self) -> int:
        """Bytes of a block's values."""
        return -(-self.ple * self.bits // 8)

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return block_bytes(self.ple, self.bits, self.group)

    @property
    def largest(self) -> int:
        """Largest magnitude of a packed value."""
        return 2 ** (self.bits - 1) - 1

    def pack(self, values: Tensor) -> Tensor:
        """Quantise.

        Args:
            values: [..., ple]

        Returns:
            uint8 [..., block]

        Raises:
            SettingsError: a value is infinite or not a number.
        """
        grouped = self._grouped(values.float())  # [..., groups, group]
        # A scale is what is stored of it, so that rounding it costs no accuracy.
        scales = (grouped.abs().amax(-1) / self.largest).bfloat16()
        if not scales.isfinite().all():
            raise SettingsError(
                "the PLE table holds values that are infinite or no numbers, which cannot be "
                "quantised. Use ple.bits=16, or download the checkpoint again."
            )
        steps = scales.float().clamp_min(torch.finfo(torch.float32).tiny)[..., None]
        units = (grouped / steps).round_().clamp_(-self.largest, self.largest)
        units = units.flatten(-2)[..., : self.ple].to(torch.int8)
        if self.bits == 4:
            units = _pairs(units)
        return torch.cat([units.view(torch.uint8), scales.view(torch.uint8)], -1)

    def scales(self, blocks: Tensor) -> Tensor:
        """The step of each group, float32 [..., groups], of uint8 [..., block]."""
        # A copy, because a view as another type has to begin at a multiple of its size.
        scales = blocks[..., self.value_bytes :].clone(memory_format=torch.contiguous_format)
        return scales.view(torch.bfloat16).float()

    def unpack(self, blocks: Tensor) -> Tensor:
        """What was packed, to half a step.

        Args:
            blocks: uint8 [..., block], on any device.

        Returns:
            float32 [..., ple]
        """
        units = blocks[..., : self.value_bytes]
        if self.bits == 4:
            units = torch.stack([units & 15, units >> 4], -1).flatten(-2)[..., : self.ple]
            values = units.float() - 8
        else:
            values = units.contiguous().view(torch.int8).float()
        grouped = self._grouped(values) * self.scales(blocks)[..., None]
        return grouped.flatten(-2)[..., : self.ple]

    def _grouped(self, values: Tensor) -> Tensor:
        """[..., ple] -> [..., groups, group], with zeros at the end."""
        return F.pad(values, (0, -self.ple % self.group)).unflatten(-1, (-1, self.group))


def _pairs(units: Tensor) -> Tensor:
    """int8 [..., n] in -7..7 -> uint8 [..., n / 2, rounded up]."""
    shifted = F.pad(units + 8, (0, units.shape[-1] % 2)).to(torch.uint8)
    return shifted[..., ::2] | shifted[..., 1::2] << 4
