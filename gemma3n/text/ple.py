"""Per-layer embeddings (PLE): a table off the accelerator; token ids -> rows -> per-layer inputs.

The table is the largest tensor of the model and each token needs one row of it, so it stays where
it is (the checkpoint's file, or host memory) and only the gathered rows travel.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from gemma3n.text.packing import Packing

_PIECE_BYTES = 1_000_000  # of a table packed at once: its copies stay in the CPU's cache


@dataclass
class Traffic:
    """What was asked of a table, and what came for it."""

    rows: int = 0  # asked for, one a token
    moved: int = 0  # rows that came from where the table is; others were here, or asked for twice
    bytes: int = 0  # of what came
    wait_seconds: float = 0.0  # until it was there

    @property
    def hit_rate(self) -> float | None:
        """Share of rows for which nothing had to come; None if none was asked for."""
        return 1 - self.moved / self.rows if self.rows else None

    def since(self, earlier: "Traffic") -> "Traffic":
        """What came to pass after `earlier`."""
        return Traffic(
            self.rows - earlier.rows,
            self.moved - earlier.moved,
            self.bytes - earlier.bytes,
            self.wait_seconds - earlier.wait_seconds,
        )

    def copy(self) -> "Traffic":
        """As it is now."""
        return replace(self)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Add the time that the block takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self.wait_seconds += perf_counter() - start


class PleTable(Protocol):
    """Anything that gives the PLE rows of token ids.

    Attributes:
        traffic: what was asked so far.
        waits: whether rows may take milliseconds, so that a thread had better wait for them.
    """

    @property
    def traffic(self) -> Traffic: ...

    @property
    def waits(self) -> bool: ...

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """Gather rows, only the columns of the given layers.

        Args:
            token_ids: int64 [n], on any device, each a row of the table.
            layers: by the table's own numbers, ascending.

        Returns:
            [n, layers, ple] in the table's dtype, on the table's device.
        """
        ...

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """Begin to bring rows that will be asked for soon, and do not wait for them."""
        ...


class FileTable:
    """A table left in the checkpoint's file (`ple=mmap`): the page cache decides what is in memory.

    Rows are read, not mapped: mapping a row brings in what lies around it, a megabyte or more
    where the page cache holds large folios, and counts it as this process's memory. Rows that the
    page cache has not are asked for all at once, in the order of the file, before the first is
    waited for.

    Args:
        path: safetensors file.
        offset: of the table's first byte in it.
        shape: (vocab, layers * ple)
        dtype: of the table.
        ple: columns of one layer.
    """

    waits = True

    def __init__(
        self, path: Path, offset: int, shape: Sequence[int], dtype: torch.dtype, ple: int
    ) -> None:
        self.path, self.offset, self.dtype = path, offset, dtype
        self.shape = (shape[1] // ple, ple)
        self.row_bytes = shape[1] * dtype.itemsize
        self.traffic = Traffic()
        self._file = path.open("rb", buffering=0)
        self._lock = Lock()
        # Whether the page cache can be asked what it has; some file systems cannot tell.
        self._tells = hasattr(os, "preadv") and hasattr(os, "RWF_NOWAIT")
        if hasattr(os, "posix_fadvise"):
            # Rows lie anywhere: what follows one is not worth reading with it.
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`."""
        with self.traffic.waiting():
            ids, places = token_ids.cpu().unique(return_inverse=True)
            span = _span(layers)
            read = torch.empty((len(ids), len(span) * self._block), dtype=torch.uint8)
            self._read(ids.tolist(), span.start * self._block, read)
            rows = read.view(self.dtype).view(len(ids), len(span), self.shape[1])[places]
        self.traffic.rows += len(places)
        self.traffic.moved += len(ids)
        self.traffic.bytes += read.nbytes
        if len(layers) == len(span):
            return rows
        return rows[:, [layer - span.start for layer in layers]]

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `PleTable.ahead`: the kernel reads into the page cache."""
        if hasattr(os, "posix_fadvise"):
            span = _span(layers)
            for token in sorted(set(token_ids.tolist())):
                self._will_need(token, span.start * self._block, len(span) * self._block)

    @property
    def _block(self) -> int:
        """Bytes of one layer's columns."""
        return self.shape[1] * self.dtype.itemsize

    def _read(self, ids: Sequence[int], skip: int, read: Tensor) -> None:
        """Read rows of ascending ids, each from its byte `skip` on."""
        buffers = [row.data for row in read.numpy()]
        cold = [n for n, token in enumerate(ids) if not self._read_now(token, skip, buffers[n])]
        if len(cold) > 1 and hasattr(os, "posix_fadvise"):
            for n in cold:
                self._will_need(ids[n], skip, read.shape[1])
        for n in cold:
            if self._read_from(self._start(ids[n], skip), buffers[n]) != read.shape[1]:
                raise OSError(f"'{self.path}' ended within row {ids[n]} of the PLE table.")

    def _read_now(self, token: int, skip: int, buffer: memoryview) -> bool:
        """Read a row if the page cache has it."""
        if not self._tells:
            return False
        start = self._start(token, skip)
        try:
            read = os.preadv(self._file.fileno(), [buffer], start, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            self._tells = False
            return False
        return read == len(buffer)

    def _read_from(self, start: int, buffer: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [buffer], start)
        with self._lock:  # of one position that all threads share
            self._file.seek(start)
            return self._file.readinto(buffer) or 0

    def _will_need(self, token: int, skip: int, length: int) -> None:
        start = self._start(token, skip)
        os.posix_fadvise(self._file.fileno(), start, length, os.POSIX_FADV_WILLNEED)

    def _start(self, token: int, skip: int) -> int:
        return self.offset + token * self.row_bytes + skip


class HostTable:
    """A table in memory (`ple=resident`).

    Args:
        weight: [vocab, layers, ple]
        layers: the numbers of the layers that `weight` holds, ascending.
    """

    waits = False

    def __init__(self, weight: Tensor, layers: Sequence[int]) -> None:
        self.weight = weight
        self.place = {layer: place for place, layer in enumerate(layers)}
        self.traffic = Traffic()

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`."""
        with self.traffic.waiting():
            ids = token_ids.to(self.weight.device)
            if len(layers) == len(self.place):
                rows = self.weight[ids]
            else:
                places = torch.tensor([self.place[i] for i in layers], device=ids.device)
                rows = self.weight[ids[:, None], places]
        self.traffic.rows += len(ids)
        self.traffic.moved += len(ids)
        self.traffic.bytes += rows.nbytes
        return rows

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `PleTable.ahead`: rows are here."""


class PackedTable:
    """A table whose rows are quantised (`ple.bits=8` or `4`); the rows that are asked are unpacked.

    Args:
        table: of packed blocks, uint8 [n, layers, block].
        packing: how they are packed.
    """

    def __init__(self, table: PleTable, packing: Packing) -> None:
        self.table, self.packing = table, packing

    @property
    def traffic(self) -> Traffic:
        """Of the packed table."""
        return self.table.traffic

    @property
    def waits(self) -> bool:
        """As the packed table does."""
        return self.table.waits

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`; in float32, which holds what is packed exactly."""
        return self.packing.unpack(self.table.rows(token_ids, layers))

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `PleTable.ahead`."""
        self.table.ahead(token_ids, layers)


def resident_table(
    weight: Tensor, ple: int, layers: Sequence[int], pinned: bool, packing: Packing | None = None
) -> HostTable:
    """The columns of `layers`, copied into host memory; page-locked for the copies of a GPU.

    Args:
        weight: [vocab, all layers * ple]
        ple: columns of one layer.
        layers: to keep, ascending.
        pinned: page-locked.
        packing: quantises what is copied, so that the table is one of blocks.
    """
    by_layer = weight.unflatten(1, (-1, ple))
    if packing is None:
        target = torch.empty((len(weight), len(layers), ple), dtype=weight.dtype, pin_memory=pinned)
        for place, layer in enumerate(layers):
            target[:, place].copy_(by_layer[:, layer])
        return HostTable(target, layers)
    shape = (len(weight), len(layers), packing.block_bytes)
    target = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    for start, piece in pieces(by_layer):
        target[start : start + len(piece)] = packing.pack(piece[:, list(layers)])
    return HostTable(target, layers)


def pieces(table: Tensor) -> Iterator[tuple[int, Tensor]]:
    """A table some rows at a time, each with the number of its first row."""
    count = max(1, _PIECE_BYTES // max(1, table[0].nbytes))
    return ((start, table[start : start + count]) for start in range(0, len(table), count))


def consecutive(layers: Sequence[int]) -> list[range]:
    """Ascending layer numbers as runs, so that their columns can be sliced without a copy."""
    runs: list[range] = []
    for layer in layers:
        if runs and runs[-1].stop == layer:
            runs[-1] = range(runs[-1].start, layer + 1)
        else:
            runs.append(range(layer, layer + 1))
    return runs


def _span(layers: Sequence[int]) -> range:
    """From the first to the last of ascending layers."""
    return range(layers[0], layers[-1] + 1) if layers else range(0)
