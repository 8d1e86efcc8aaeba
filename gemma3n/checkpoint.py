"""A checkpoint folder of the released layout -> its tensors, mapped; every one accounted for.

Headers alone tell what is in a folder (`plan` reads nothing else); tensors are views of the mapped
files, so that loading costs milliseconds and memory is what has been touched.
"""

import json
import math
import re
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma3n import hub
from gemma3n.config import Config, TextConfig
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.named import checkpoint_folder, pinned

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Released prefix -> ours; the part that a tensor belongs to is the first word of ours.
PREFIXES = {
    "model.language_model.": "text.",
    "model.vision_tower.timm_model.": "vision.",
    "model.audio_tower.": "audio.",
    "model.embed_vision.": "embed_vision.",
    "model.embed_audio.": "embed_audio.",
    "lm_head.": "lm_head.",
    "model.": "text.",  # text-only exports
}
PARTS = ("text", "vision", "audio")
_NEEDED_BY = {  # the embedders are small, and text needs their rows of the vocabulary
    "text": ("text",),
    "lm_head": ("text",),
    "vision": ("vision",),
    "audio": ("audio",),
    "embed_vision": ("vision", "text"),
    "embed_audio": ("audio", "text"),
}
_SINGLE = "model.safetensors"
_SHARD = re.compile(r"[^/\\]+\.safetensors")
PLE_TABLE = "text.embed_tokens_per_layer.weight"
PLE_PROJECTION = "text.per_layer_model_projection.weight"
_DTYPES = {  # as safetensors spells them: torch's name, bits
    "BF16": ("bfloat16", 16),
    "F16": ("float16", 16),
    "F32": ("float32", 32),
    "F64": ("float64", 64),
    "I8": ("int8", 8),
    "U8": ("uint8", 8),
    "I32": ("int32", 32),
    "I64": ("int64", 64),
}


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint, as its file's header states it."""

    name: str  # ours: `text.layers.0.mlp.gate_proj.weight`
    released: str  # the file's own
    file: Path
    dtype: str  # safetensors spelling: BF16, F32, ...
    shape: tuple[int, ...]
    offset: int = 0  # of its first byte in the file

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        return self.elements * _DTYPES[self.dtype][1] // 8

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    def runs(self, elements: int) -> Iterator[slice]:
        """Its rows, about so many elements at a time."""
        each = max(1, elements * self.shape[0] // max(1, self.elements))
        return (slice(start, start + each) for start in range(0, self.shape[0], each))


class Checkpoint:
    """An opened checkpoint folder.

    Args:
        folder: holds config.json and *.safetensors, in one file or in shards with an index; or a
            name, see `named.py`. Of one on the hub what is not here yet is brought.
        parts: of text, vision and audio that are wanted: shards with nothing of these are not
            opened, and need not be there.
        bring: false leaves weights on the hub, and only their headers are read, there.

    Raises:
        SettingsError: the folder or a file of it is missing or not readable, a tensor in it
            belongs to no part of Gemma 3n, or the hub does not give it.
    """

    def __init__(
        self, folder: str | Path, parts: Collection[str] = PARTS, bring: bool = True
    ) -> None:
        name = pinned(folder)
        self.name = name  # of one on the hub, with its commit
        self.folder = checkpoint_folder(name)
        self.config = Config.from_folder(self.folder)
        self.entries: dict[str, Entry] = {}
        for entry in self._headers(hub.repository(name), parts, bring):
            self.entries[entry.name] = entry
        self._open: dict[Path, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def of_shapes(cls, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> "Checkpoint":
        """A checkpoint of which only names and shapes are known: it can be planned, not loaded.

        Args:
            config: of the model.
            shapes: of every tensor, in bfloat16, by its released name.
        """
        self = cls.__new__(cls)
        self.name = self.folder = Path()
        self.config, self._open = config, {}
        self._lock = threading.Lock()
        stated = (
            Entry(_our_name(name, Path()), name, Path(), "BF16", shape)
            for name, shape in shapes.items()
        )
        self.entries = {entry.name: entry for entry in stated}
        return self

    def part(self, prefix: str) -> dict[str, Entry]:
        """Entries under one of our prefixes (`text`, `vision`, `embed_audio`, ...)."""
        return {n: e for n, e in self.entries.items() if n.startswith(prefix + ".")}

    def released(self, name: str) -> str:
        """How this checkpoint's files spell our `name`, whether or not they hold it."""
        if name in self.entries:
            return self.entries[name].released
        part, rest = name.split(".", 1)
        for entry in self.part(part).values():
            return entry.released.removesuffix(entry.name.removeprefix(part + ".")) + rest
        return next(t for t, ours in PREFIXES.items() if ours == part + ".") + rest

    def dtype(self, name: str) -> "torch.dtype":
        """Number format of one tensor."""
        import torch

        dtype: torch.dtype = getattr(torch, _DTYPES[self.entries[name].dtype][0])
        return dtype

    def tensor(self, name: str) -> "Tensor":
        """A view of one tensor in its mapped file; no more of it is read than is used.

        Where the page cache holds large folios, the view alone maps a megabyte of it.
        """
        from safetensors import safe_open

        entry = self.entries[name]
        with self._lock:
            if entry.file not in self._open:
                self._open[entry.file] = safe_open(entry.file, framework="pt")
            return self._open[entry.file].get_tensor(entry.released)

    def read(self, name: str, rows: slice = slice(None)) -> "Tensor":
        """Rows of one tensor, read into memory of their own.

        What is read leaves nothing mapped behind: use it for weights that are turned into others.
        """
        import torch

        entry = self.entries[name]
        start, stop, _ = rows.indices(entry.shape[0])
        found = torch.empty((stop - start, *entry.shape[1:]), dtype=self.dtype(name))
        left = found.flatten().view(torch.uint8).numpy().data
        row = entry.bytes // max(1, entry.shape[0])
        with entry.file.open("rb", buffering=0) as file:
            file.seek(entry.offset + start * row)
            while left:
                if not (count := file.readinto(left)):
                    raise OSError(f"'{entry.file}' ended within '{entry.released}'.")
                left = left[count:]
        return found

    def _headers(
        self, repository: hub.Repository | None, parts: Collection[str], bring: bool
    ) -> Iterator[Entry]:
        """What all files state that hold something of the parts."""
        files = self._files(parts, repository)
        if repository is not None and bring:
            hub.bring(repository, [file.name for file in files])
        if repository is None and (missing := [f.name for f in files if not f.is_file()]):
            raise SettingsError(
                f"'{self.folder}' lacks {', '.join(missing)}, which its index names. "
                "Download the missing shards."
            )
        for file in files:
            if repository is None or file.is_file():
                yield from read_header(file)
            else:
                yield from _entries(hub.header(repository, file.name), file, start=0)[0]

    def _files(self, parts: Collection[str], repository: hub.Repository | None) -> list[Path]:
        index = self.folder / hub.INDEX
        if index.is_file():
            return sorted(self.folder / name for name in _shards(index, parts))
        if repository is not None:
            return [self.folder / _SINGLE]
        if files := sorted(self.folder.glob("*.safetensors")):
            return files
        raise SettingsError(
            f"'{self.folder}' holds no *.safetensors, only safetensors weights are read. "
            "Download the checkpoint's weights, or convert them."
        )


def bring_weights(name: str, parts: Collection[str] = PARTS) -> None:
    """Bring a checkpoint's weights from the hub; of one that is not on it nothing is read.

    Args:
        name: of the checkpoint, see `named.py`.
        parts: of text, vision and audio that are wanted.

    Raises:
        SettingsError: as `Checkpoint` does.
    """
    if hub.repository(name) is not None:
        Checkpoint(name, parts)


def _shards(index: Path, parts: Collection[str]) -> set[str]:
    """Names of the files of which an index says that they hold something of the parts."""
    try:
        raw = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"'{index}' is not JSON: {error}. Download it again.") from error
    names = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise SettingsError(
            f"'{index}' has no weight_map of tensor names to file names, so it is no index of "
            "shards. Download it again; if all weights are in one file, take it away."
        )
    # What is named is opened and may be downloaded: nothing but weights, and nowhere else.
    if strange := sorted(name for name in names.values() if not _SHARD.fullmatch(name)):
        raise SettingsError(
            f"'{index}' names the file '{strange[0]}'; shards are *.safetensors, beside it. "
            "Use the files of the released checkpoint."
        )
    return {file for tensor, file in names.items() if _is_needed(tensor, parts)}


def _is_needed(released: str, parts: Collection[str]) -> bool:
    """Whether a load of the parts uses a tensor; one of no part is, so that it is refused."""
    ours = our_name(released)
    return ours is None or any(part in parts for part in _NEEDED_BY[ours.split(".", 1)[0]])


def read_header(path: Path) -> list[Entry]:
    """The tensors of one safetensors file, from its header alone.

    Raises:
        SettingsError: not a safetensors file, shorter than its header says, or a strange tensor.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > size - 8:
            raise SettingsError(
                f"'{path}' is not a whole safetensors file ({size} bytes). Download it again."
            )
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise SettingsError(
                f"'{path}' is not a safetensors file: its header is no JSON. Download it again."
            ) from error
    entries, end = _entries(header, path, start=8 + length)
    if end > size:
        raise SettingsError(
            f"'{path}' has {size} bytes, but its header speaks of {end}. "
            "The download broke off: get it again."
        )
    return entries


def _entries(header: Any, path: Path, start: int) -> tuple[list[Entry], int]:
    """The tensors of a safetensors header, and where the last ends if the first is at `start`."""
    try:
        header.pop("__metadata__", None)
        entries = [
            Entry(
                _our_name(name, path),
                name,
                path,
                info["dtype"],
                tuple(info["shape"]),
                start + info["data_offsets"][0],
            )
            for name, info in header.items()
        ]
        end = max((info["data_offsets"][1] for info in header.values()), default=0)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise SettingsError(
            f"'{path}' is not a safetensors file: its header does not say dtype, shape and "
            "data_offsets of every tensor. Download it again."
        ) from error
    if strange := {entry.dtype for entry in entries} - _DTYPES.keys():
        raise SettingsError(
            f"'{path}' holds tensors of type {', '.join(map(str, sorted(strange)))}; accepted are "
            f"{', '.join(_DTYPES)}. Convert it, or use the released checkpoint."
        )
    return entries, start + end


def our_name(released: str) -> str | None:
    """What we call a tensor of the released layout; None for one of no part of Gemma 3n."""
    for theirs, ours in PREFIXES.items():
        if released.startswith(theirs):
            return ours + released.removeprefix(theirs)
    return None


def _our_name(released: str, path: Path) -> str:
    if (ours := our_name(released)) is not None:
        return ours
    raise SettingsError(
        f"'{path}' holds the tensor '{released}', which belongs to no part of Gemma 3n "
        f"(known prefixes: {', '.join(PREFIXES)}). This is another model's checkpoint, or a "
        "layout that is not supported."
    )


@dataclass(frozen=True)
class Cut:
    """What a nested size keeps of one text tensor; None keeps all."""

    name: str  # in the sliced model, layers renumbered
    rows: int | None = None
    columns: int | None = None
    layers: tuple[int, ...] | None = None  # blocks of `ple` along `layer_axis`
    layer_axis: int = 0

    def shape(self, full: tuple[int, ...], ple: int) -> tuple[int, ...]:
        """Shape of what is kept of a tensor of shape `full`; `ple` is the width of one block."""
        kept = list(full)
        if self.rows is not None:
            kept[0] = self.rows
        if self.columns is not None:
            kept[1] = self.columns
        if self.layers is not None:
            kept[self.layer_axis] = len(self.layers) * ple
        return tuple(kept)


def cut(name: str, size: NestedSize, config: TextConfig) -> Cut | None:
    """How a nested size slices the tensor `name` (ours); None if it drops it. MatFormer Lab."""
    kept = size.layers(config)
    if name == PLE_TABLE:
        return Cut(name, layers=kept, layer_axis=1)
    if name == PLE_PROJECTION:
        return Cut(name, layers=kept, layer_axis=0)
    if not name.startswith("text.layers."):
        return Cut(name)
    number, rest = name.removeprefix("text.layers.").split(".", 1)
    if int(number) not in kept:
        return None
    renamed = f"text.layers.{kept.index(int(number))}.{rest}"
    width = size.ffn_widths(config)[int(number)]
    if rest in ("mlp.gate_proj.weight", "mlp.up_proj.weight"):
        return Cut(renamed, rows=width)
    if rest == "mlp.down_proj.weight":
        return Cut(renamed, columns=width)
    return Cut(renamed)


def is_unused_kv(name: str, config: TextConfig) -> bool:
    """Whether this is a K/V tensor of a KV-sharing layer: released files carry them, unused."""
    if not name.startswith("text.layers."):
        return False
    number, rest = name.removeprefix("text.layers.").split(".", 1)
    unused = ("self_attn.k_proj.", "self_attn.v_proj.", "self_attn.k_norm.")
    return int(number) >= config.first_shared_layer and rest.startswith(unused)
