"""Tensors -> safetensors files of the released layout, written a piece at a time."""

import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
from torch import Tensor

from gemma3n.checkpoint import Entry

logger = logging.getLogger(__name__)

SHARD_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Output:
    """One tensor to write."""

    name: str  # released spelling
    dtype: str
    shape: tuple[int, ...]
    pieces: Iterator[Tensor]  # along the first axis

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        return Entry(self.name, self.name, Path(), self.dtype, self.shape).bytes


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_shards(folder: Path, outputs: list[Output], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors as safetensors, in one file or in shards with an index.

    Args:
        folder: exists.
        outputs: in the order of writing.
        shard_bytes: a shard is closed before it grows past this, unless one tensor alone does.
    """
    shards: list[list[Output]] = [[]]
    for output in outputs:
        if shards[-1] and sum(o.bytes for o in shards[-1]) + output.bytes > shard_bytes:
            shards.append([])
        shards[-1].append(output)
    if len(shards) == 1:
        write_file(folder / "model.safetensors", shards[0])
        return
    where = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_file(folder / name, shard)
        where.update(dict.fromkeys((o.name for o in shard), name))
    index = {"metadata": {"total_size": sum(o.bytes for o in outputs)}, "weight_map": where}
    write_json(folder / "model.safetensors.index.json", index)


def write_file(path: Path, outputs: list[Output], about: dict[str, str] | None = None) -> None:
    """Write tensors as one safetensors file.

    Args:
        path: of the file.
        outputs: in the order of writing.
        about: what its header says beside them.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(about or {})}}
    end = 0
    for output in outputs:
        begin, end = end, end + output.bytes
        header[output.name] = {
            "dtype": output.dtype,
            "shape": list(output.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that tensors begin at multiples of 8 bytes
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for output in outputs:
            for piece in output.pieces:
                file.write(piece.contiguous().view(torch.uint8).numpy().data)
    logger.info("wrote %s: %d tensors, %.1f MB", path.name, len(outputs), end / 1e6)


def replace_file(path: Path, outputs: list[Output], about: dict[str, str] | None = None) -> None:
    """`write_file`, whole or not at all: whoever reads the file that was there keeps it.

    Args:
        path: of the file, in a folder that is there.
        outputs: in the order of writing.
        about: what its header says beside them.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    with NamedTemporaryFile(prefix=f".{path.name}-", dir=path.parent, delete=False) as partial:
        half = Path(partial.name)
    try:
        write_file(half, outputs, about)
        half.chmod(0o644)  # temporary files are their owner's alone
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
