"""KV cache: keys and values of earlier tokens, and which position each belongs to.

Sliding layers keep a ring of the last `sliding_window` tokens, full layers a block that grows,
KV-sharing layers nothing. Every slot carries the position of its token, or -1, so the mask of a
pass follows from positions alone: order in the ring, padding and chunking do not matter, and a
token is taken back by writing another one at its position.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gemma3n.config import FULL, SLIDING, TextConfig

_BLOCK = 256  # slots by which full layers grow, at least
EMPTY = -1  # position of a slot without a token, and of padding


@dataclass
class _Slots:
    """The slots of all layers of one type; the last one takes what nobody will read."""

    positions: Tensor  # int64 [rows, slots + 1]
    kv: dict[int, tuple[Tensor, Tensor]]  # by layer, each [rows, slots + 1, kv_heads, head_dim]

    @property
    def trash(self) -> int:
        return self.positions.shape[1] - 1


@dataclass
class Step:
    """Where the tokens of one forward pass go and what they may look at, for one layer type."""

    written: Tensor  # int64 [rows, seq]: slot of each new token
    earlier: int  # slots in use before this pass
    in_use: int  # slots in use after it
    seen: Tensor  # int64 [rows, keys]: position of each key that `update` returns
    aside: bool = False  # new keys overwrite old ones that the pass itself still needs


class KVCache:
    """Keys and values of so many rows, each of which may begin and end by itself.

    Args:
        config: of the loaded text decoder.
        rows: at the most.
        dtype: of keys and values.
        device: where they are.
        spare: tokens that may be taken back: the ring is so much longer than the window.
    """

    def __init__(
        self,
        config: TextConfig,
        rows: int,
        dtype: torch.dtype,
        device: torch.device,
        spare: int = 0,
    ) -> None:
        self.rows, self.dtype, self.device = rows, dtype, device
        self.window, self.ring = config.sliding_window, config.sliding_window + spare
        self.shape = (config.num_key_value_heads, config.head_dim)
        self.types = config.layer_types
        self._slots = {
            SLIDING: _Slots(self._no_positions(self.ring), {}),
            FULL: _Slots(self._no_positions(_BLOCK), {}),
        }

    def part(self, rows: range, before: int, after: int) -> "CachedRows":
        """Some neighbouring rows, for one forward pass.

        Args:
            rows: which.
            before: tokens that the longest of them has, taken-back ones not counted.
            after: tokens that the longest will have.
        """
        return CachedRows(self, rows, before, after)

    def clear(self, rows: range) -> None:
        """Forget what the rows held."""
        for slots in self._slots.values():
            slots.positions[rows.start : rows.stop] = EMPTY

    def move(self, source: int, target: int) -> None:
        """Put one row in the place of another."""
        for slots in self._slots.values():
            slots.positions[target] = slots.positions[source]
            for pair in slots.kv.values():
                for kv in pair:
                    kv[target] = kv[source]

    def slots(self, kind: str, needed: int) -> _Slots:
        """The slots of a layer type, at least so many of a full layer's."""
        slots = self._slots[kind]
        if kind == FULL and needed > slots.trash:
            self._grow(slots, max(needed + _BLOCK, slots.trash * 3 // 2))
        return slots

    def kv(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, each [rows, slots + 1, kv_heads, head_dim]."""
        slots = self._slots[self.types[layer]]
        if layer not in slots.kv:
            shape = (self.rows, slots.positions.shape[1], *self.shape)
            slots.kv[layer] = (self._zeros(shape), self._zeros(shape))
        return slots.kv[layer]

    def address(self, needed: int) -> int:
        """Where it lies once it has room for so many tokens; growing moves it."""
        return self.slots(FULL, needed).positions.data_ptr()

    def bytes(self) -> int:
        """Bytes held by keys and values."""
        held = (kv for slots in self._slots.values() for pair in slots.kv.values() for kv in pair)
        return sum(kv.numel() * kv.element_size() for kv in held)

    def _grow(self, slots: _Slots, size: int) -> None:
        held = slots.trash
        positions = self._no_positions(size)
        positions[:, :held] = slots.positions[:, :held]
        slots.positions = positions
        for layer, pair in slots.kv.items():
            larger = [self._zeros((self.rows, size + 1, *self.shape)) for _ in pair]
            for new, old in zip(larger, pair, strict=True):
                new[:, :held] = old[:, :held]
            slots.kv[layer] = (larger[0], larger[1])

    def _no_positions(self, size: int) -> Tensor:
        return torch.full((self.rows, size + 1), EMPTY, device=self.device)

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)


class CachedRows:
    """What one forward pass sees of a cache; made by `KVCache.part`."""

    def __init__(self, cache: KVCache, rows: range, before: int, after: int) -> None:
        self.cache, self.before, self.after = cache, before, after
        self._rows = slice(rows.start, rows.stop)
        self._row = torch.arange(rows.start, rows.stop, device=cache.device)[:, None]

    def begin(self, positions: Tensor) -> dict[str, Step]:
        """Make room for the tokens of the pass.

        Args:
            positions: int64 [rows, seq], -1 for padding; each row's ascend over all passes, but
                for tokens that are taken back.

        Returns:
            A `Step` for each layer type.
        """
        return {SLIDING: self._begin_sliding(positions), FULL: self._begin_full(positions)}

    def update(self, layer: int, key: Tensor, value: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values and return all that its queries may attend with.

        Args:
            layer: by the checkpoint's number; never a KV-sharing one.
            key: [rows, seq, kv_heads, head_dim], normed and rotated.
            value: the same shape.
            step: of this layer's type.

        Returns:
            Keys and values [rows, keys, kv_heads, head_dim], in the order of `step.seen`.
        """
        keys, values = self.cache.kv(layer)
        seen = None
        if step.aside:
            seen = [
                torch.cat([old[self._rows, : step.earlier], new], 1)
                for old, new in ((keys, key), (values, value))
            ]
        keys[self._row, step.written] = key
        values[self._row, step.written] = value
        if seen is not None:
            return seen[0], seen[1]
        return keys[self._rows, : step.in_use], values[self._rows, : step.in_use]

    def _begin_sliding(self, positions: Tensor) -> Step:
        cache, slots = self.cache, self.cache.slots(SLIDING, self.after)
        seq = positions.shape[1]
        earlier, in_use = min(self.before, cache.ring), min(self.after, cache.ring)
        # Of a long chunk only the last ones stay; older ones would share their slots.
        newest = positions.amax(1, keepdim=True)
        kept = (positions >= 0) & (positions > newest - cache.ring)
        written = torch.where(kept, positions % cache.ring, slots.trash)
        # A chunk's own queries may need entries that its later tokens overwrite.
        aside = seq > 1 + cache.ring - cache.window
        if aside:
            old = slots.positions[self._rows, :earlier]
            # Tokens that were taken back are still there, at places that come anew.
            newer = torch.where(positions >= 0, positions, newest).amin(1, keepdim=True)
            seen = torch.cat([torch.where(old < newer, old, EMPTY), positions], 1)
        self._note(slots, written, positions)
        if not aside:
            seen = slots.positions[self._rows, :in_use]
        return Step(written, earlier, in_use, seen, aside)

    def _begin_full(self, positions: Tensor) -> Step:
        slots = self.cache.slots(FULL, self.after)
        written = torch.where(positions >= 0, positions, slots.trash)
        self._note(slots, written, positions)
        return Step(written, self.before, self.after, slots.positions[self._rows, : self.after])

    def _note(self, slots: _Slots, written: Tensor, positions: Tensor) -> None:
        slots.positions[self._row, written] = positions
        slots.positions[self._rows, slots.trash] = EMPTY
