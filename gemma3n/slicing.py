"""A nested size of a checkpoint -> a checkpoint of its own, in the released layout.

The rule for each tensor is `checkpoint.cut`. Files are written a piece at a time, so that slicing
needs hardly any memory, into a folder that gets its name only when it is whole.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from gemma3n.checkpoint import Checkpoint, Cut, cut
from gemma3n.config import Config
from gemma3n.matformer import NestedSize, resolve_size
from gemma3n.named import checkpoint_folder, pinned
from gemma3n.new_checkpoint import new_checkpoint
from gemma3n.rounded import refuse_rounded
from gemma3n.save import Output, write_json, write_shards
from gemma3n.whole_folder import check_free

_PIECE_BYTES = 64_000_000


def slice_checkpoint(folder: str | Path, nested: str | NestedSize, output: str | Path) -> Path:
    """Write one nested size as a checkpoint of its own.

    Args:
        folder: of the larger checkpoint, or its name.
        nested: size, by name or itself.
        output: folder to make; it must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        SettingsError: no such checkpoint or size, or `output` is taken or cannot be made.

    Example:
        >>> slice_checkpoint("gemma-3n-E4B-it", "small", "my-e2b")
    """
    output = Path(output)
    check_free(output)
    name = pinned(folder)
    config = Config.from_folder(checkpoint_folder(name))
    refuse_rounded(config, "sliced")
    size = resolve_size(nested, config)
    checkpoint = Checkpoint(name)
    with new_checkpoint(output, checkpoint) as partial:
        write_json(partial / "config.json", sliced_config(checkpoint, size))
        write_shards(partial, list(sliced_outputs(checkpoint, size).values()))
    return output


def sliced_config(checkpoint: Checkpoint, size: NestedSize) -> dict[str, Any]:
    """`config.json` of a nested size: as it was, but for the fields that count layers and units."""
    raw = json.loads(json.dumps(checkpoint.config.raw))
    raw.pop("nested_sizes", None)  # they are sizes of the larger model
    text = raw if raw["model_type"] == "gemma3n_text" else raw["text_config"]
    config = size.sliced(checkpoint.config.text)
    for field in (
        "num_hidden_layers",
        "num_kv_shared_layers",
        "intermediate_size",
        "layer_types",
        "activation_sparsity_pattern",
    ):
        text[field] = getattr(config, field)
    return raw


def sliced_outputs(checkpoint: Checkpoint, size: NestedSize) -> dict[str, Output]:
    """What a nested size keeps of every tensor, by our name in the slice, layers renumbered."""
    ple = checkpoint.config.text.hidden_size_per_layer_input
    outputs = {}
    for name, entry in checkpoint.entries.items():
        kept = cut(name, size, checkpoint.config.text)
        if kept is None:
            continue
        # Only layer numbers ever change in a name.
        released = entry.released.removesuffix(_tail(name)) + _tail(kept.name)
        shape = kept.shape(entry.shape, ple)
        pieces = _pieces(checkpoint, name, kept, ple)
        outputs[kept.name] = Output(released, entry.dtype, shape, pieces)
    return outputs


def _tail(name: str) -> str:
    return name.split(".", 1)[1]


def _pieces(checkpoint: Checkpoint, name: str, kept: Cut, ple: int) -> Iterator[Tensor]:
    """What is kept of one tensor, read from its mapped file as it is written."""
    tensor = checkpoint.tensor(name)[slice(kept.rows)] if kept.rows else checkpoint.tensor(name)
    if kept.layers is not None and kept.layer_axis == 0:
        yield tensor.unflatten(0, (-1, ple))[list(kept.layers)].flatten(0, 1)
        return
    if tensor.dim() < 2:
        yield tensor
        return
    rows = max(1, _PIECE_BYTES // max(1, tensor[0].numel() * tensor.element_size()))
    for piece in tensor.split(rows):
        if kept.layers is not None:
            piece = piece.unflatten(1, (-1, ple))[:, list(kept.layers)].flatten(1, 2)
        yield piece[:, : kept.columns] if kept.columns is not None else piece
