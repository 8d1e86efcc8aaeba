"""A checkpoint's PLE table -> a file of quantised rows, beside what it is read from like a cache.

The file is safetensors with one tensor, `model.embed_tokens_per_layer.blocks`, uint8
[vocab, layers, block]; `text/packing.py` says what a block is. Its header tells `bits`, `group`,
`ple` (values of a block), and `table`, a digest of what it was made from.
"""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gemma3n.checkpoint import PLE_TABLE, Checkpoint, read_header
from gemma3n.errors import SettingsError
from gemma3n.readable import bytes_text
from gemma3n.save import Output, replace_file
from gemma3n.text.packing import Packing
from gemma3n.text.ple import FileTable, pieces

logger = logging.getLogger(__name__)

_NAME = "model.embed_tokens_per_layer.blocks"
_SAMPLES = 64  # rows of a table by which it is known


def quantize_ple(checkpoint: Checkpoint, bits: int, output: str | Path) -> Path:
    """Write the PLE table of a checkpoint, quantised.

    Args:
        checkpoint: to read.
        bits: of a value, 8 or 4.
        output: file to write; an earlier one is replaced once this is whole.

    Returns:
        The file.

    Raises:
        SettingsError: the checkpoint has no table, or one that cannot be quantised, or the file
            cannot be written.
    """
    output, packing = Path(output), packing_of(checkpoint, bits)
    began, table = time.perf_counter(), checkpoint.tensor(PLE_TABLE)
    shape = (len(table), table.shape[1] // packing.ple, packing.block_bytes)
    blocks = Output(_NAME, "U8", shape, _packed(table, packing))
    about = {
        "bits": str(bits),
        "group": str(packing.group),
        "ple": str(packing.ple),
        "table": table_digest(checkpoint),
    }
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _check_room(output.parent, blocks.bytes)
        replace_file(output, [blocks], about)
    except OSError as error:
        raise SettingsError(
            f"'{output}', which is to hold the PLE table in {bits} bits "
            f"({bytes_text(blocks.bytes)}), cannot be written: {error.strerror}. Name a folder "
            "with room in ple.folder, or set ple=resident, which needs no file."
        ) from error
    logger.info(
        "wrote the PLE table in %d bits to %s: %s instead of %s, %.1f s",
        *(bits, output, bytes_text(blocks.bytes), bytes_text(table.nbytes)),
        time.perf_counter() - began,
    )
    return output


def packed_file(checkpoint: Checkpoint, bits: int, folder: str | Path | None = None) -> FileTable:
    """The quantised rows of a checkpoint; the file is made on first use, by one process.

    Args:
        checkpoint: whose table it is.
        bits: of a value, 8 or 4.
        folder: of such files; None for the user's cache.

    Returns:
        A table of blocks.

    Raises:
        SettingsError: see `quantize_ple`; or the file is another table's.
    """
    from filelock import FileLock

    digest = table_digest(checkpoint)
    place = (user_cache() if folder is None else Path(folder)) / f"ple-{digest}-int{bits}"
    path = place.with_suffix(".safetensors")
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(place.with_suffix(".lock")):
                if not path.is_file():
                    logger.info("quantising the PLE table, once, to %s", path)
                    quantize_ple(checkpoint, bits, path)
        except OSError as error:
            raise SettingsError(
                f"'{path.parent}', where the PLE table is kept in {bits} bits, cannot be written: "
                f"{error.strerror or error}. Name another in ple.folder, or set ple=resident, "
                "which needs no file."
            ) from error
    return open_packed(path, packing_of(checkpoint, bits), digest)


def open_packed(path: Path, packing: Packing, digest: str) -> FileTable:
    """A file of quantised rows, as a table of blocks.

    Raises:
        SettingsError: it holds no such table.
    """
    from safetensors import safe_open

    (entry,) = read_header(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
    wanted = {
        "bits": str(packing.bits),
        "group": str(packing.group),
        "ple": str(packing.ple),
        "table": digest,
    }
    if any(about.get(name) != value for name, value in wanted.items()):
        raise SettingsError(
            f"'{path}' is not this checkpoint's PLE table in {packing.bits} bits: it says "
            f"{ {name: about.get(name) for name in wanted} }. Delete it: it is made again."
        )
    vocab, layers, block = entry.shape
    return FileTable(path, entry.offset, (vocab, layers * block), torch.uint8, block)


def packing_of(checkpoint: Checkpoint, bits: int) -> Packing:
    """How the rows of a checkpoint are packed."""
    return Packing(checkpoint.config.text.hidden_size_per_layer_input, bits)


def table_digest(checkpoint: Checkpoint) -> str:
    """A table by its shape, its file's size and time, and some of its rows."""
    entry = checkpoint.entries[PLE_TABLE]
    status = entry.file.stat()
    sums = hashlib.sha256(
        f"{entry.dtype} {entry.shape} {status.st_size} {status.st_mtime_ns}".encode()
    )
    row_bytes = entry.bytes // entry.shape[0]
    with entry.file.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(entry.offset + sample * entry.shape[0] // _SAMPLES * row_bytes)
            sums.update(file.read(row_bytes))
    return sums.hexdigest()[:16]


def user_cache() -> Path:
    """Where this package keeps what it can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gemma3n"


def _packed(table: Tensor, packing: Packing) -> Iterator[Tensor]:
    for _, piece in pieces(table):
        yield packing.pack(piece.unflatten(1, (-1, packing.ple)))


def _check_room(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
