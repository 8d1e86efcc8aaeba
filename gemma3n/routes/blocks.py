"""Blocks of a weight beside each other, each a matrix of its own: a nested size is a run of them.

A packed weight cannot be sliced, and a scale belongs to the inputs it was taken over. So a weight
is cut where nested sizes end, and small run inside full computes what small alone does. A part that
ends inside a block is right too: rows too many are cut off, columns too many meet zeros.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Block(Protocol):
    """A whole weight matrix in some format."""

    shape: tuple[int, int]  # rows, columns

    def __call__(self, x: Tensor) -> Tensor:
        """[..., columns] -> [..., rows], of the same dtype."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        ...


class Blocks:
    """A weight as blocks along one axis; a `gemma3n.linear.Route`.

    Args:
        blocks: in order; they agree along the other axis.
        axis: 0 if they are rows (outputs), 1 if they are columns (inputs).
    """

    def __init__(self, blocks: Sequence[Block], axis: int = 0) -> None:
        self.blocks, self.axis = list(blocks), axis
        self.ends = list(accumulate(block.shape[axis] for block in blocks))
        other = blocks[0].shape[1 - axis]
        self.shape = (self.ends[-1], other) if axis == 0 else (other, self.ends[-1])

    @property
    def bytes(self) -> int:
        """Memory that all blocks take."""
        return sum(block.bytes for block in self.blocks)

    def __call__(self, x: Tensor, rows: range | None = None) -> Tensor:
        """See `gemma3n.linear.Linear.forward`.

        Raises:
            ValueError: `x` has more columns than the weight.
        """
        if x.shape[-1] > self.shape[1]:
            raise ValueError(
                f"x has {x.shape[-1]} columns, but this weight has {self.shape[1]}. "
                "Give it what it was made for, or a prefix of that."
            )
        if self.axis == 1:
            summed = self._columns(x)
            return summed if rows is None else summed[..., rows.start : rows.stop]
        x = _padded(x, self.shape[1])
        if len(self.blocks) == 1:
            whole = self.blocks[0](x)
            return whole if rows is None else whole[..., rows.start : rows.stop]
        return self._rows(x, range(self.shape[0]) if rows is None else rows)

    def _rows(self, x: Tensor, rows: range) -> Tensor:
        pieces, start = [], 0
        for block, end in zip(self.blocks, self.ends, strict=True):
            if start < rows.stop and rows.start < end:
                piece = block(x)
                if rows.start > start or rows.stop < end:
                    piece = piece[..., max(rows.start - start, 0) : rows.stop - start]
                pieces.append(piece)
            start = end
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)

    def _columns(self, x: Tensor) -> Tensor:
        summed, start = None, 0
        for block, end in zip(self.blocks, self.ends, strict=True):
            if start >= x.shape[-1]:
                break
            piece = block(_padded(x[..., start:end], end - start))
            summed = piece if summed is None else summed + piece
            start = end
        assert summed is not None
        return summed


def _padded(x: Tensor, columns: int) -> Tensor:
    missing = columns - x.shape[-1]
    return F.pad(x, (0, missing)) if missing else x
