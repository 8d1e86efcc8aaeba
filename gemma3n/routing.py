"""Which route each linear map of a decoder takes, made of a checkpoint's weights one by one.

Weights that become packed or rounded copies are read and not mapped, and each is finished before
the next is begun, so that a load never holds more than the copies and one weight.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from gemma3n.checkpoint import Checkpoint
from gemma3n.choices import ROUNDED, Precision
from gemma3n.device import Formats
from gemma3n.linear import Linear
from gemma3n.matformer import NestedSize, ffn_borders, layer_borders
from gemma3n.rounded import fits_int4
from gemma3n.rounding import to_int4, to_int8
from gemma3n.routes.blocks import Block, Blocks
from gemma3n.routes.int4 import Int4
from gemma3n.routes.int8 import Int8
from gemma3n.routes.packed import Packed
from gemma3n.text.decoder import Decoder

HEAD = "text.embed_tokens.weight"
_PIECE = 1 << 24  # weights that are rounded at a time


def set_routes(
    decoder: Decoder,
    checkpoint: Checkpoint,
    size: NestedSize,
    formats: Formats,
    device: torch.device,
) -> None:
    """Put routes in the place of the weights that `formats` wants packed or rounded.

    Args:
        decoder: built, without weights; those of maps that get a route are taken away.
        checkpoint: of the weights.
        size: that the decoder holds.
        formats: says which maps get one.
        device: of the routes.
    """
    if not (formats.pack or formats.weights in ROUNDED):
        return
    maker = _Maker(checkpoint, formats, device)
    # The largest first: while it is made, the least else is there.
    table = decoder.embed_tokens
    shape = (table.num_embeddings, table.embedding_dim)
    table.route = Blocks([maker.block(HEAD, range(shape[0]), range(shape[1]), int4=False)])
    borders = _borders(checkpoint, size)
    for name, module in decoder.named_modules():
        if isinstance(module, Linear) and (module.rounds or formats.weights not in ROUNDED):
            axis, ends = borders.get(name, (0, [module.out_features]))
            module.route = maker.blocks(f"text.{name}.weight", module, axis, ends)
            module.register_parameter("weight", None)


def _borders(checkpoint: Checkpoint, size: NestedSize) -> dict[str, tuple[int, list[int]]]:
    """Axis and ends of the blocks of maps that nested sizes use parts of, by name of the map."""
    ple = checkpoint.config.text.hidden_size_per_layer_input
    ends = [layer * ple for layer in layer_borders(checkpoint.config)]
    found = {"per_layer_model_projection": (0, ends)}
    for layer, widths in ffn_borders(checkpoint.config, size).items():
        found[f"layers.{layer}.mlp.gate_proj"] = found[f"layers.{layer}.mlp.up_proj"] = (0, widths)
        found[f"layers.{layer}.mlp.down_proj"] = (1, widths)
    return found


class _Maker:
    """Makes blocks of the weights of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, formats: Formats, device: torch.device) -> None:
        self.checkpoint, self.formats, self.device = checkpoint, formats, device

    def blocks(self, name: str, linear: Linear, axis: int, ends: list[int]) -> Blocks:
        """A map's blocks along one axis, which end at `ends`."""
        other = linear.in_features if axis == 0 else linear.out_features
        runs = [range(start, stop) for start, stop in pairwise([0, *ends])]
        whole = range(other)
        parts = [(run, whole) if axis == 0 else (whole, run) for run in runs]
        return Blocks([self.block(name, *part, linear.rounds) for part in parts], axis)

    def block(self, name: str, rows: range, columns: range, int4: bool) -> Block:
        """One block of the weight `name`; where int4 is asked for but not allowed, it is int8."""
        match self.formats.weights:
            case Precision.int4 if int4 and fits_int4(len(columns)):
                packed, scale, zero = self._rounded(to_int4, name, rows, columns)
                return Int4(packed, scale, zero, self.formats.pack)
            case Precision.int4 | Precision.int8:
                weight, scale = self._rounded(to_int8, name, rows, columns)
                return Int8(weight, scale, self.formats.pack)
            case floating:
                dtype = getattr(torch, floating.value)
                return Packed(self._read(name, rows, columns).to(dtype))

    def _rounded(
        self, to: Callable[[Tensor], Sequence[Tensor]], name: str, rows: range, columns: range
    ) -> list[Tensor]:
        """What `to` makes of a block, a piece at a time: weights and what goes with them."""
        each = max(1, _PIECE // len(columns))
        runs = (rows[start : start + each] for start in range(0, len(rows), each))
        pieces = [to(self._read(name, run, columns)) for run in runs]
        return [torch.cat(parts).to(self.device) for parts in zip(*pieces, strict=True)]

    def _read(self, name: str, rows: range, columns: range) -> Tensor:
        read = self.checkpoint.read(name, slice(rows.start, rows.stop))
        return read[:, columns.start : columns.stop]
