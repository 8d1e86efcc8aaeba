"""A checkpoint -> one whose text decoder has int8 or int4 linear maps, rounded to nearest.

The layout is described in `rounded.py`. Tensors are read and written a piece at a time, so that
quantizing needs hardly any memory.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from gemma3n.checkpoint import Checkpoint, Entry, is_unused_kv
from gemma3n.choices import ROUNDED, Precision
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.gptq import rounder
from gemma3n.matformer import FULL_SIZE, ffn_borders
from gemma3n.named import checkpoint_folder, pinned
from gemma3n.new_checkpoint import new_checkpoint
from gemma3n.rounded import (
    EMBEDDING,
    GROUP,
    HEAD,
    KEY,
    SCALE,
    ZERO,
    description,
    fits_int4,
    is_map,
    refuse_rounded,
)
from gemma3n.rounding import to_int4, to_int8
from gemma3n.save import Output, write_json, write_shards
from gemma3n.whole_folder import check_free

_PIECE = 1 << 20  # weights that are read and rounded at a time, so that they stay in cache
_TALL = 1 << 25


def quantize_checkpoint(
    folder: str | Path,
    precision: str,
    output: str | Path,
    power_of: Callable[[str], Tensor] | None = None,
) -> Path:
    """Write a checkpoint with the text decoder's linear maps rounded.

    It loads as any other does, at every nested size. Rounded to nearest, it gives the same logits
    as the one that it is made from does when that is loaded with the same precision.

    Args:
        folder: of the checkpoint, or its name.
        precision: int8 or int4.
        output: folder to make; it must not exist, or be empty.
        power_of: what inputs the maps get, by name of the weight (ours), from `gptq.Powers` over
            `int4_names`; int4 weights are rounded by it, and to nearest without.

    Returns:
        The folder.

    Raises:
        SettingsError: no such checkpoint or precision, one that is rounded already, or `output` is
            taken or cannot be made.

    Example:
        >>> quantize_checkpoint("gemma-3n-E2B-it", "int8", "e2b-int8")
    """
    output = Path(output)
    names = [one.value for one in ROUNDED]
    if precision not in names:
        raise SettingsError(f"precision={precision}; quantize makes {' or '.join(names)}.")
    check_free(output)
    name = pinned(folder)
    refuse_rounded(Config.from_folder(checkpoint_folder(name)), "quantized again")
    checkpoint = Checkpoint(name)
    config = checkpoint.config
    ends = list(ffn_borders(config, FULL_SIZE).values())
    raw = config.raw | {KEY: description(Precision[precision], ends)}
    with new_checkpoint(output, checkpoint) as partial:
        write_json(partial / "config.json", raw)
        write_shards(partial, list(_outputs(checkpoint, Precision[precision], ends, power_of)))
    return output


def int4_names(checkpoint: Checkpoint) -> list[str]:
    """The weights that become int4, in the order in which they are written."""
    return [
        name
        for name, entry in checkpoint.entries.items()
        if is_map(name)
        and fits_int4(entry.shape[1])
        and not is_unused_kv(name, checkpoint.config.text)
    ]


def _outputs(
    checkpoint: Checkpoint,
    precision: Precision,
    ends: list[list[int]],
    power_of: Callable[[str], Tensor] | None,
) -> Iterator[Output]:
    for name, entry in checkpoint.entries.items():
        if is_unused_kv(name, checkpoint.config.text):
            continue
        if not is_map(name):
            yield Output(entry.released, entry.dtype, entry.shape, _copied(checkpoint, entry))
            if name == EMBEDDING:  # the head is a copy of its own
                yield from _int8(checkpoint, entry, HEAD, [entry.shape[1]])
        elif precision is Precision.int4 and fits_int4(entry.shape[1]):
            yield from _int4(checkpoint, entry, power_of)
        else:
            is_down = name.endswith("down_proj.weight")
            columns = ends[int(name.split(".")[2])] if is_down else [entry.shape[1]]
            yield from _int8(checkpoint, entry, entry.released, columns)


def _copied(checkpoint: Checkpoint, entry: Entry) -> Iterator[Tensor]:
    for rows in entry.runs(_PIECE):
        yield checkpoint.read(entry.name, rows)


def _int8(checkpoint: Checkpoint, entry: Entry, released: str, ends: list[int]) -> Iterator[Output]:
    """A weight and its scales, of one block of columns each."""
    scales: list[Tensor] = []  # they come with the weight, which is written before them

    def weights() -> Iterator[Tensor]:
        for rows in entry.runs(_PIECE):
            read = checkpoint.read(entry.name, rows)
            blocks = [to_int8(read[:, start:stop]) for start, stop in pairwise([0, *ends])]
            scales.append(torch.stack([scale for _, scale in blocks], 1))
            yield torch.cat([block for block, _ in blocks], 1)

    yield Output(released, "I8", entry.shape, weights())
    yield Output(released + SCALE, "F32", (entry.shape[0], len(ends)), iter(scales))


def _int4(
    checkpoint: Checkpoint, entry: Entry, power_of: Callable[[str], Tensor] | None
) -> Iterator[Output]:
    """A weight, its scales and its zeros."""
    scales: list[Tensor] = []
    zeros: list[Tensor] = []
    rows, columns = entry.shape

    def weights() -> Iterator[Tensor]:
        # By power it goes column by column, for which few and tall pieces are best.
        to = to_int4 if power_of is None else rounder(power_of(entry.name))
        for run in entry.runs(_PIECE if power_of is None else _TALL):
            packed, scale, zero = to(checkpoint.read(entry.name, run))
            scales.append(scale)
            zeros.append(zero)
            yield packed

    yield Output(entry.released, "U8", (rows, columns // 2), weights())
    for what, values in ((SCALE, scales), (ZERO, zeros)):
        yield Output(entry.released + what, "BF16", (rows, columns // GROUP), iter(values))
