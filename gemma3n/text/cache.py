"""KV cache: keys and values of earlier tokens, and which position each belongs to.

Sliding layers keep a ring of the last `sliding_window` tokens, full layers a block that grows,
KV-sharing layers nothing. Every slot carries the position of its token, or -1, so the mask of a
step follows from positions alone: order in the ring, padding and chunking do not matter.
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
    earlier: int  # slots in use before this step
    in_use: int  # slots in use after it
    seen: Tensor  # int64 [rows, keys]: position of each key that `update` returns


class KVCache:
    """Keys and values of a batch of rows.

    Args:
        config: of the loaded text decoder.
        rows: batch size.
        dtype: of keys and values.
        device: where they are.
    """

    def __init__(
        self, config: TextConfig, rows: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rows, self.dtype, self.device = rows, dtype, device
        self.window = config.sliding_window
        self.shape = (config.num_key_value_heads, config.head_dim)
        self.types = config.layer_types
        self.tokens = 0  # columns so far, padding included: no row has more tokens
        self._row = torch.arange(rows, device=device)[:, None]
        self._slots = {
            SLIDING: _Slots(self._no_positions(self.window), {}),
            FULL: _Slots(self._no_positions(_BLOCK), {}),
        }

    def begin(self, positions: Tensor) -> dict[str, Step]:
        """Make room for the tokens of one forward pass.

        Args:
            positions: int64 [rows, seq], -1 for padding; each row's ascend over all passes.

        Returns:
            A `Step` for each layer type.
        """
        before, self.tokens = self.tokens, self.tokens + positions.shape[1]
        return {
            SLIDING: self._begin_sliding(positions, before),
            FULL: self._begin_full(positions, before),
        }

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
        slots = self._slots[self.types[layer]]
        if layer not in slots.kv:
            shape = (self.rows, slots.positions.shape[1], *self.shape)
            slots.kv[layer] = (self._zeros(shape), self._zeros(shape))
        keys, values = slots.kv[layer]
        # A chunk's own queries may need ring entries that its later tokens overwrite.
        aside = self._needs_aside(layer, key.shape[1])
        if aside:
            seen = tuple(
                torch.cat([old[:, : step.earlier], new], 1)
                for old, new in ((keys, key), (values, value))
            )
        keys[self._row, step.written] = key
        values[self._row, step.written] = value
        if aside:
            return seen[0], seen[1]
        return keys[:, : step.in_use], values[:, : step.in_use]

    def bytes(self) -> int:
        """Bytes held by keys and values."""
        held = (kv for slots in self._slots.values() for pair in slots.kv.values() for kv in pair)
        return sum(kv.numel() * kv.element_size() for kv in held)

    def _begin_sliding(self, positions: Tensor, before: int) -> Step:
        slots = self._slots[SLIDING]
        seq = positions.shape[1]
        earlier, in_use = min(before, self.window), min(self.tokens, self.window)
        # Of a long chunk only the last window's tokens stay; older ones would share their slots.
        newest = positions.amax(1, keepdim=True)
        kept = (positions >= 0) & (positions > newest - self.window)
        written = torch.where(kept, positions % self.window, slots.trash)
        seen = torch.cat([slots.positions[:, :earlier], positions], 1) if seq > 1 else None
        self._note(slots, written, positions)
        return Step(written, earlier, in_use, slots.positions[:, :in_use] if seen is None else seen)

    def _begin_full(self, positions: Tensor, before: int) -> Step:
        slots = self._slots[FULL]
        if self.tokens > slots.trash:
            self._grow(slots, max(self.tokens + _BLOCK, slots.trash * 3 // 2))
        written = torch.where(positions >= 0, positions, slots.trash)
        self._note(slots, written, positions)
        return Step(written, before, self.tokens, slots.positions[:, : self.tokens])

    def _note(self, slots: _Slots, written: Tensor, positions: Tensor) -> None:
        slots.positions[self._row, written] = positions
        slots.positions[:, slots.trash] = EMPTY

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

    def _needs_aside(self, layer: int, seq: int) -> bool:
        return self.types[layer] == SLIDING and seq > 1

    def _no_positions(self, size: int) -> Tensor:
        return torch.full((self.rows, size + 1), EMPTY, device=self.device)

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)
