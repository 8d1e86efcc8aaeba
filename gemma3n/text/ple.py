"""Per-layer embeddings (PLE): a table off the accelerator; token ids -> rows -> per-layer inputs.

The table is the largest tensor of the model and each token needs one row of it, so it stays where
it is (the checkpoint's file, or host memory) and only the gathered rows travel.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor


class PleTable(Protocol):
    """Anything that gives the PLE rows of token ids."""

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """Gather rows, only the columns of the given layers.

        Args:
            token_ids: int64 [n], on any device, each a row of the table.
            layers: by the table's own numbers, ascending.

        Returns:
            [n, layers, ple] in the table's dtype, on the table's device.
        """
        ...


class FileTable:
    """A table left in the checkpoint's file (`ple=mmap`): the page cache decides what is in memory.

    Rows are read, not mapped: mapping a row brings in what lies around it, a megabyte or more
    where the page cache holds large folios, and counts it as this process's memory.

    Args:
        path: safetensors file.
        offset: of the table's first byte in it.
        shape: (vocab, layers * ple)
        dtype: of the table.
        ple: columns of one layer.
    """

    def __init__(
        self, path: Path, offset: int, shape: Sequence[int], dtype: torch.dtype, ple: int
    ) -> None:
        self.path, self.offset, self.dtype = path, offset, dtype
        self.shape = (shape[1] // ple, ple)
        self.row_bytes = shape[1] * dtype.itemsize
        self._file = path.open("rb", buffering=0)

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`."""
        ids, places = token_ids.cpu().unique(return_inverse=True)
        read = torch.empty((len(ids), self.row_bytes), dtype=torch.uint8)
        for row, token in zip(read.numpy(), ids.tolist(), strict=True):
            start = self.offset + token * self.row_bytes
            if os.preadv(self._file.fileno(), [row.data], start) != self.row_bytes:
                raise OSError(f"'{self.path}' ended within row {token} of the PLE table.")
        rows = read.view(self.dtype).view(-1, *self.shape)[places]
        return rows if len(layers) == self.shape[0] else rows[:, list(layers)]


class HostTable:
    """A table in host memory (`ple=resident`).

    Args:
        weight: [vocab, layers, ple]
        layers: the numbers of the layers that `weight` holds, ascending.
    """

    def __init__(self, weight: Tensor, layers: Sequence[int]) -> None:
        self.weight = weight
        self.place = {layer: place for place, layer in enumerate(layers)}

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`."""
        ids = token_ids.to(self.weight.device)
        if len(layers) == len(self.place):
            return self.weight[ids]
        places = torch.tensor([self.place[i] for i in layers], device=self.weight.device)
        return self.weight[ids[:, None], places]


def resident_table(weight: Tensor, ple: int, layers: Sequence[int], pinned: bool) -> HostTable:
    """The columns of `layers`, copied into host memory; page-locked for the copies of a GPU."""
    by_layer = weight.unflatten(1, (-1, ple))
    shape = (len(weight), len(layers), ple)
    target = torch.empty(shape, dtype=weight.dtype, pin_memory=pinned)
    for place, layer in enumerate(layers):
        target[:, place].copy_(by_layer[:, layer])
    return HostTable(target, layers)


def consecutive(layers: Sequence[int]) -> list[range]:
    """Ascending layer numbers as runs, so that their columns can be sliced without a copy."""
    runs: list[range] = []
    for layer in layers:
        if runs and runs[-1].stop == layer:
            runs[-1] = range(runs[-1].start, layer + 1)
        else:
            runs.append(range(layer, layer + 1))
    return runs
