"""Rows kept beside the compute, in front of a table on another device or host.

Which rows are kept follows their last use (LRU), exactly as if ids came one by one. All of it is
done for a whole call at once, in arrays: no Python loop over tokens.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import RLock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gemma3n.text.ple import PleTable, Traffic

Ints = npt.NDArray[np.int64]
_PIECE = 128  # rows that are brought ahead together: the first of a long prompt come first


@dataclass(eq=False)
class _Coming:
    """Rows on their way."""

    ids: Ints
    wait: Callable[[], "_Brought"]


@dataclass
class _Brought:
    """Rows beside the compute, once what copies them has come to `event`."""

    rows: Tensor  # [n, layers, ple]
    event: torch.cuda.Event | None

    def here(self) -> Tensor:
        """The rows, for the work that the current stream does next."""
        if self.event is not None:
            stream = torch.cuda.current_stream(self.rows.device)
            stream.wait_event(self.event)
            self.rows.record_stream(stream)
        return self.rows


def _is_here(brought: _Brought) -> _Brought:
    return brought


class RowCache:
    """A `PleTable` that keeps the rows used last on a device.

    It holds whole rows of the layers given, so that one cache serves every nested size within
    them. Of rows that one call asks for and that do not fit, only the columns asked for come.

    Args:
        table: where rows come from.
        vocab: rows of the table.
        capacity: rows to keep.
        layers: that rows are kept of, ascending; others cannot be asked for.
        device: where rows are kept, and given.
    """

    waits = False

    def __init__(
        self,
        table: PleTable,
        vocab: int,
        capacity: int,
        layers: Sequence[int],
        device: torch.device,
    ) -> None:
        self.table, self.capacity, self.device = table, capacity, device
        self.layers = list(layers)
        self.traffic = Traffic()
        self._column = {layer: n for n, layer in enumerate(layers)}
        self._slot_of = np.full(vocab, -1, np.int64)  # by token id; -1 is none
        self._token_in = np.full(capacity, -1, np.int64)  # by slot
        self._used = np.full(capacity, -1, np.int64)  # by slot: when last
        self._clock = 0
        self._kept: Tensor | None = None  # [capacity, layers, ple]
        self._coming: list[_Coming] = []
        self._thread = ThreadPoolExecutor(1, "ple") if table.waits else None
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._lock = RLock()  # of threads that decode side by side
        self._seen: tuple[Tensor, Ints] | None = None  # ids that were copied to the host last

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`."""
        with self._lock:
            with self.traffic.waiting():
                rows = self._rows(self._on_host(token_ids), layers)
            self._seen = None
            self.traffic.rows += len(token_ids)
            return rows

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `PleTable.ahead`: no more than the cache can hold; the earliest that came is let go.

        Columns of all its layers are brought, whichever are given.
        """
        with self._lock:
            self._begin(token_ids)

    def _begin(self, token_ids: Tensor) -> None:
        ids, first = np.unique(self._on_host(token_ids), return_index=True)
        ids = ids[np.argsort(first)]
        ids = ids[self._slot_of[ids] < 0]
        for coming in self._coming:
            ids = ids[~np.isin(ids, coming.ids)]
        ids = ids[: self.capacity]
        for start in range(0, len(ids), _PIECE):
            piece = ids[start : start + _PIECE]
            wait = (
                self._thread.submit(self._bring, piece).result
                if self._thread is not None
                else partial(_is_here, self._bring(piece))
            )
            self._coming.append(_Coming(piece, wait))
        while sum(len(coming.ids) for coming in self._coming) > self.capacity:
            self._coming.pop(0)

    def _rows(self, ids: Ints, layers: Sequence[int]) -> Tensor:
        # Backwards, so that the place found first is that of the last use.
        asked, last, places = np.unique(ids[::-1], return_index=True, return_inverse=True)
        used, places = self._clock + len(ids) - last, places[::-1]
        self._land(asked, used)
        self._clock += len(ids)
        slots = self._slot_of[asked]
        absent = slots < 0
        if len(asked) > self.capacity:
            return self._part_of_it(asked, used, slots, layers)[self._index(places)]
        if absent.any() or self._kept is None:
            brought = self._fetch(asked[absent])
            slots[absent] = self._keep(asked[absent], used[absent], brought)
        assert self._kept is not None
        return self._select(self._kept, slots[places], layers)

    def _part_of_it(self, asked: Ints, used: Ints, slots: Ints, layers: Sequence[int]) -> Tensor:
        """Rows of more ids than the cache can hold; the last used of them stay.

        Args:
            asked: token ids, each once.
            used: when last, of each.
            slots: of each, -1 where it is absent.
            layers: whose columns are asked for.
        """
        absent = slots < 0
        stays = np.zeros(len(asked), bool)
        stays[np.argpartition(used, -self.capacity)[-self.capacity :]] = True
        brought = self._fetch(asked[absent & stays])
        passing = self._fetch(asked[absent & ~stays], layers)
        found = passing.new_empty((len(asked), *passing.shape[1:]))
        found[self._index(np.flatnonzero(absent & ~stays))] = passing
        columns = self._select(brought, np.arange(len(brought)), layers)
        found[self._index(np.flatnonzero(absent & stays))] = columns
        if self._kept is not None:  # before others take their slots
            kept = self._select(self._kept, slots[~absent], layers)
            found[self._index(np.flatnonzero(~absent))] = kept
        self._keep(asked[absent & stays], used[absent & stays], brought)
        return found

    def _land(self, asked: Ints, used: Ints) -> None:
        """Keep rows on their way that are asked for, with those that come with them."""
        self._touch(asked, used)  # so that those that are here do not leave for others
        for coming in [c for c in self._coming if np.isin(c.ids, asked).any()]:
            self._coming.remove(coming)
            rows = coming.wait().here()
            self._count(rows)
            still = np.flatnonzero(self._slot_of[coming.ids] < 0)[-self.capacity :]
            ids = coming.ids[still]
            # Those that are not asked for yet leave before those that are.
            self._keep(ids, np.full(len(ids), self._clock), rows[self._index(still)])
            self._touch(asked, used)

    def _touch(self, asked: Ints, used: Ints) -> None:
        slots = self._slot_of[asked]
        self._used[slots[slots >= 0]] = used[slots >= 0]

    def _fetch(self, ids: Ints, layers: Sequence[int] | None = None) -> Tensor:
        rows = self._bring(ids, layers).here()
        self._count(rows)
        return rows

    def _count(self, rows: Tensor) -> None:
        self.traffic.moved += len(rows)
        self.traffic.bytes += rows.nbytes

    def _bring(self, ids: Ints, layers: Sequence[int] | None = None) -> _Brought:
        """Rows of the table to the device; on CUDA beside the current stream."""
        rows = self.table.rows(torch.from_numpy(ids), self.layers if layers is None else layers)
        if self._side is None:
            return _Brought(rows.to(self.device), None)
        # The allocator of page-locked memory keeps it until the copy has been made.
        rows = rows if rows.is_cuda else rows.pin_memory()
        with torch.cuda.stream(self._side):
            copied = rows.to(self.device, non_blocking=True)
            return _Brought(copied, self._side.record_event())

    def _keep(self, ids: Ints, used: Ints, rows: Tensor) -> Ints:
        """Keep rows in the slots that were used least lately; the slots."""
        if self._kept is None:
            # No matter in which mode it is made: it is written in others.
            with torch.inference_mode(False):
                shape = (self.capacity, *rows.shape[1:])
                self._kept = torch.empty(shape, dtype=rows.dtype, device=self.device)
        count = len(ids)
        if not count:
            return ids
        if count < self.capacity:
            slots = np.argpartition(self._used, count - 1)[:count]
        else:
            slots = np.arange(self.capacity)
        self._kept.index_copy_(0, self._index(slots), rows)
        before = self._token_in[slots]
        self._slot_of[before[before >= 0]] = -1
        self._token_in[slots], self._used[slots], self._slot_of[ids] = ids, used, slots
        return slots

    def _select(self, rows: Tensor, places: Ints, layers: Sequence[int]) -> Tensor:
        index = self._index(places)
        if len(layers) == len(self.layers):
            return rows[index]
        columns = torch.tensor([self._column[layer] for layer in layers], device=self.device)
        return rows[index[:, None], columns]

    def _index(self, places: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(places)).to(self.device)

    def _on_host(self, token_ids: Tensor) -> Ints:
        """The ids; of a tensor that `ahead` saw, without asking its device again."""
        if self._seen is None or self._seen[0] is not token_ids:
            self._seen = token_ids, token_ids.cpu().numpy()
        return self._seen[1]
