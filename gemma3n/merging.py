"""A checkpoint and an adapter -> a checkpoint of its own, the additions added to its weights."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from gemma3n.adapter_files import read_adapter
from gemma3n.checkpoint import Checkpoint, Entry
from gemma3n.config import Config
from gemma3n.lora import LowRank
from gemma3n.named import checkpoint_folder, pinned
from gemma3n.new_checkpoint import new_checkpoint
from gemma3n.rounded import refuse_rounded
from gemma3n.save import Output, write_json, write_shards
from gemma3n.whole_folder import check_free

_PIECE = 1 << 20  # weights that are read and changed at a time, so that they stay in cache


def merge_checkpoint(folder: str | Path, adapter: str | Path, output: str | Path) -> Path:
    """Write a checkpoint with an adapter's additions in its weights, rounded to their dtype.

    Every nested size of it is that of the checkpoint with the adapter.

    Args:
        folder: of the checkpoint, or its name.
        adapter: folder in peft's layout.
        output: folder to make; it must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        SettingsError: no such checkpoint or adapter, an adapter of another model, a rounded
            checkpoint, or `output` is taken or cannot be made.

    Example:
        >>> merge_checkpoint("gemma-3n-E2B-it", "outputs/train/mine/adapter", "e2b-mine")
    """
    output = Path(output)
    check_free(output)
    name = pinned(folder)
    refuse_rounded(Config.from_folder(checkpoint_folder(name)), "merged with an adapter")
    checkpoint = Checkpoint(name)
    low = {
        f"text.{map_name}.weight": one
        for map_name, one in read_adapter(adapter, checkpoint).named()
    }
    outputs = [
        Output(entry.released, entry.dtype, entry.shape, _pieces(checkpoint, entry, low.get(ours)))
        for ours, entry in checkpoint.entries.items()
    ]
    with new_checkpoint(output, checkpoint) as partial:
        write_json(partial / "config.json", checkpoint.config.raw)
        write_shards(partial, outputs)
    return output


def _pieces(checkpoint: Checkpoint, entry: Entry, low: LowRank | None) -> Iterator[Tensor]:
    for rows in entry.runs(_PIECE):
        read = checkpoint.read(entry.name, rows)
        yield read if low is None else (read.float() + low.delta(rows)).to(read.dtype)
