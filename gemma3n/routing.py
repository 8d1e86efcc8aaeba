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
from gemma3n.errors import SettingsError
from gemma3n.heap import give_back
from gemma3n.linear import Linear
from gemma3n.matformer import NestedSize, ffn_borders, layer_borders
from gemma3n.rounded import (
    EMBEDDING,
    GROUP,
    HEAD,
    SCALE,
    ZERO,
    Rounded,
    fits_int4,
    precision_of,
    rounded,
    shape_of,
)
from gemma3n.rounding import to_int4, to_int8
from gemma3n.routes import native
from gemma3n.routes.blocks import Block, Blocks
from gemma3n.routes.int4 import Int4
from gemma3n.routes.int8 import Int8
from gemma3n.routes.native import NativeBfloat16, NativeInt4, NativeInt8
from gemma3n.routes.packed import Packed
from gemma3n.text.decoder import Decoder

_PIECE = 1 << 20  # weights that are rounded at a time, so that they stay in cache


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

    Raises:
        SettingsError: a rounded checkpoint lacks something.
    """
    own = rounded(checkpoint.config)
    if not (formats.pack or formats.weights in ROUNDED):
        return
    maker = _Maker(checkpoint, formats, device, own)
    # The largest first: while it is made, the least else is there.
    head, table = EMBEDDING if own is None else HEAD, decoder.embed_tokens
    rows, columns = range(table.num_embeddings), range(table.embedding_dim)
    table.route = Blocks([maker.block(head, rows, columns, int4=False)])
    borders = _borders(checkpoint, size, own)
    for name, module in decoder.named_modules():
        if isinstance(module, Linear) and (module.rounds or formats.weights not in ROUNDED):
            axis, ends = borders.get(name, (0, [module.out_features]))
            module.route = maker.blocks(f"text.{name}.weight", module, axis, ends)
            module.register_parameter("weight", None)
            give_back()


def _borders(
    checkpoint: Checkpoint, size: NestedSize, own: Rounded | None
) -> dict[str, tuple[int, list[int]]]:
    """Axis and ends of the blocks of maps that nested sizes use parts of, by name of the map."""
    config = checkpoint.config
    ple = config.text.hidden_size_per_layer_input
    found = {"per_layer_model_projection": (0, [i * ple for i in layer_borders(config)])}
    for layer, widths in ffn_borders(config, size).items():
        mlp = f"layers.{layer}.mlp"
        found[f"{mlp}.gate_proj"] = found[f"{mlp}.up_proj"] = (0, widths)
        if own is not None:  # its scales hold for blocks of its own
            widths = [*(end for end in own.ffn_ends[layer] if end < widths[-1]), widths[-1]]
        found[f"{mlp}.down_proj"] = (1, widths)
    return found


class _Maker:
    """Makes blocks of the weights of one checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        formats: Formats,
        device: torch.device,
        own: Rounded | None,
    ) -> None:
        self.checkpoint, self.formats, self.device, self.own = checkpoint, formats, device, own

    def blocks(self, name: str, linear: Linear, axis: int, ends: list[int]) -> Blocks:
        """A map's blocks along one axis, which end at `ends`."""
        full = shape_of(self.checkpoint.entries[name])[1]
        if axis == 1 and self.formats.weights is Precision.int4 and fits_int4(full):
            # Inputs of a group stay together: those past a nested size then meet zeros.
            ends = sorted({min(-(-end // GROUP) * GROUP, full) for end in ends})
        whole = range(linear.in_features if axis == 0 else linear.out_features)
        runs = [range(start, stop) for start, stop in pairwise([0, *ends])]
        parts = [(run, whole) if axis == 0 else (whole, run) for run in runs]
        return Blocks([self.block(name, *part, linear.rounds) for part in parts], axis)

    def block(self, name: str, rows: range, columns: range, int4: bool) -> Block:
        """One block of the weight `name`; where int4 is asked for but not allowed, it is int8."""
        pack, shape = self.formats.pack, (len(rows), len(columns))
        here = pack and self.device.type == "cpu"
        match precision_of(self.checkpoint.entries[name]) or self.formats.weights:
            case Precision.int4 if int4 and fits_int4(len(columns)):
                packed, scale, zero = (
                    self._rounded(to_int4, name, rows, columns)
                    if self.own is None
                    else self._own_int4(name, rows, columns)
                )
                if here and native.takes(Precision.int4, *shape):
                    return NativeInt4(packed, scale, zero)
                return Int4(packed, scale, zero, pack)
            case Precision.int4 | Precision.int8:
                weight, scale = (
                    self._rounded(to_int8, name, rows, columns)
                    if self.own is None
                    else self._own_int8(name, rows, columns)
                )
                if here and native.takes(Precision.int8, *shape):
                    return NativeInt8(weight, scale)
                return Int8(weight, scale, pack)
            case floating:
                weight = self._read(name, rows, columns).to(getattr(torch, floating.value))
                return (NativeBfloat16 if native.takes(floating, *shape) else Packed)(weight)

    def _rounded(
        self, to: Callable[[Tensor], Sequence[Tensor]], name: str, rows: range, columns: range
    ) -> list[Tensor]:
        """What `to` makes of a block, a piece at a time: weights and what goes with them."""
        each, made = max(1, _PIECE // len(columns)), list[Tensor]()
        for start in range(0, len(rows), each):
            run = rows[start : start + each]
            parts = to(self._read(name, run, columns))
            # Nothing of a piece stays, so that the next fits where it was.
            made = made or [part.new_empty(len(rows), *part.shape[1:]) for part in parts]
            for whole, part in zip(made, parts, strict=True):
                whole[start : start + each] = part
        return [whole.to(self.device) for whole in made]

    def _own_int4(self, name: str, rows: range, columns: range) -> list[Tensor]:
        """A block of a rounded checkpoint: weights, scales and zeros."""
        half = range(columns.start // 2, columns.stop // 2)
        groups = range(columns.start // GROUP, columns.stop // GROUP)
        parts = [(name, half), (self._beside(name, SCALE), groups)]
        parts += [(self._beside(name, ZERO), groups)]
        return [self._read(part, rows, run).contiguous().to(self.device) for part, run in parts]

    def _own_int8(self, name: str, rows: range, columns: range) -> list[Tensor]:
        """A block of a rounded checkpoint: weights and scales."""
        place = self._place(name, columns)
        scale = self._read(self._beside(name, SCALE), rows, range(place, place + 1))
        if self.formats.pack:
            weight = self._read(name, rows, columns)
        else:  # it is used as it lies in the file
            mapped = self.checkpoint.tensor(name)
            weight = mapped[rows.start : rows.stop, columns.start : columns.stop]
        return [weight.to(self.device), scale.flatten().to(self.device)]

    def _beside(self, name: str, what: str) -> str:
        """The tensor that goes with a rounded weight.

        Raises:
            SettingsError: the checkpoint lacks it.
        """
        if name + what not in self.checkpoint.entries:
            released = self.checkpoint.released(name)
            raise SettingsError(
                f"'{self.checkpoint.folder}' holds '{released}' without '{released}{what}'. "
                "Make it again with `gemma3n quantize`."
            )
        return name + what

    def _place(self, name: str, columns: range) -> int:
        """Which of the blocks that have scales a run of columns lies in."""
        if not name.endswith("down_proj.weight"):
            return 0
        assert self.own is not None
        ends = self.own.ffn_ends[int(name.split(".")[2])]
        return next(place for place, end in enumerate(ends) if columns.start < end)

    def _read(self, name: str, rows: range, columns: range) -> Tensor:
        read = self.checkpoint.read(name, slice(rows.start, rows.stop))
        return read[:, columns.start : columns.stop]
