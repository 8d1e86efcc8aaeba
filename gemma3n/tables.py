"""A checkpoint and where its per-layer embeddings are to be -> the table that a decoder asks."""

import torch

from gemma3n.checkpoint import PLE_TABLE, Checkpoint
from gemma3n.matformer import NestedSize
from gemma3n.packed_file import packed_file, packing_of
from gemma3n.placement import Ple
from gemma3n.text.ple import FileTable, PackedTable, PleTable, resident_table
from gemma3n.text.row_cache import RowCache


def ple_table(checkpoint: Checkpoint, size: NestedSize, ple: Ple, device: torch.device) -> PleTable:
    """The table, with a row cache in front where it and the compute are apart.

    Args:
        checkpoint: whose table it is.
        size: that is loaded; smaller sizes within it can be asked for.
        ple: where the table is, and in how many bits.
        device: of the compute.

    Raises:
        SettingsError: a file of quantised rows that cannot be had, see `packed_file`.
    """
    text = checkpoint.config.text
    layers = size.layers(text)
    table: PleTable
    if ple.placement == "resident":
        packing = packing_of(checkpoint, ple.bits) if ple.bits < 16 else None
        weight, pinned = checkpoint.tensor(PLE_TABLE), device.type == "cuda"
        table = resident_table(weight, text.hidden_size_per_layer_input, layers, pinned, packing)
    else:
        table = file_table(checkpoint, ple)
    return beside(table, checkpoint, size, ple, device, apart=device.type != "cpu")


def beside(
    table: PleTable,
    checkpoint: Checkpoint,
    size: NestedSize,
    ple: Ple,
    device: torch.device,
    apart: bool,
) -> PleTable:
    """A checkpoint's table, as the compute sees it: cached if it is apart, unpacked if need be."""
    text = checkpoint.config.text
    if apart and ple.cache_rows:
        vocab = text.vocab_size_per_layer_input
        table = RowCache(table, vocab, ple.cache_rows, size.layers(text), device)
    # Unpacked last: what travels and what is kept are packed rows.
    return PackedTable(table, packing_of(checkpoint, ple.bits)) if ple.bits < 16 else table


def is_cached(table: PleTable) -> bool:
    """Whether there is a row cache in front of where a table is."""
    return isinstance(table.table if isinstance(table, PackedTable) else table, RowCache)


def file_table(checkpoint: Checkpoint, ple: Ple | None = None) -> FileTable:
    """The PLE table of a checkpoint, in its file; of quantised rows, as blocks in theirs."""
    if ple is not None and ple.bits < 16:
        return packed_file(checkpoint, ple.bits, ple.folder)
    entry = checkpoint.entries[PLE_TABLE]
    dtype = checkpoint.dtype(PLE_TABLE)
    width = checkpoint.config.text.hidden_size_per_layer_input
    return FileTable(entry.file, entry.offset, entry.shape, dtype, width)
