"""What a load needs, tier by tier, from the files' headers alone."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from gemma3n.activations import Media, run_bytes
from gemma3n.checkpoint import PARTS, PLE_PROJECTION, PLE_TABLE, Checkpoint, cut, is_unused_kv
from gemma3n.choices import ROUNDED, Precision, TowerPrecision
from gemma3n.config import SLIDING, TextConfig
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize, ffn_borders, layer_borders, named_sizes, resolve_size
from gemma3n.placement import Ple, block_bytes
from gemma3n.readable import bytes_text
from gemma3n.rounded import (
    EMBEDDING,
    GROUP,
    fits_int4,
    is_map,
    is_scale,
    is_tower_map,
    rounded,
    shape_of,
)

# Of the decoder's activations, KV cache and small weights, and of the towers, by precision: what is
# rounded computes in float32 on a CPU.
BYTES_PER_VALUE = {"float32": 4, "bfloat16": 2, "int8": 4, "int4": 4}
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "int8": 2, "int4": 2}
_ACTIVATIONS = "activations"
_ROUNDED = tuple(one.value for one in ROUNDED)
GB = 1e9


@dataclass(frozen=True)
class Item:
    """One line of a plan."""

    what: str
    tier: str  # device; host (its memory); disk (left in the file, read row by row)
    parameters: int
    bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """What one nested size of a checkpoint needs."""

    size: str
    items: list[Item]

    @property
    def parameters(self) -> int:
        """Weights of all tiers."""
        return sum(item.parameters for item in self.items)

    @property
    def activations(self) -> int:
        """Bytes that come and go; all others are there from the load on."""
        return sum(item.bytes for item in self.items if item.what.startswith(_ACTIVATIONS))

    def tier(self, tier: str) -> int:
        """Bytes of one tier."""
        return sum(item.bytes for item in self.items if item.tier == tier)


def plan_memory(
    folder: str | Path | Checkpoint,
    nested: str | NestedSize = "full",
    parts: Collection[str] = PARTS,
    precision: str = "bfloat16",
    ple: str | Ple = "mmap",
    context: int = 4096,
    batch: int = 1,
    pack: bool = False,
    towers: str = "auto",
    media: Media | None = None,
) -> MemoryPlan:
    """Plan a load without reading a weight.

    Args:
        folder: of the checkpoint, or its name; weights that are on the hub stay there. Or one that
            was opened.
        nested: size, by name or itself.
        parts: of text, vision, audio.
        precision: float32, bfloat16, int8 or int4; the PLE table keeps its own.
        ple: mmap (the table stays on disk) or resident (in host memory); a `Ple` says in how many
            bits, too.
        context: tokens a row may reach, for KV cache and activations.
        batch: rows at once, for these too; 0 plans weights alone.
        pack: linear maps are packed copies, so that of the embedding only rows are mapped.
        towers: "int8" rounds their large linear maps, "auto" does not.
        media: what the towers read at once; None is the most that there may be of a row.

    Raises:
        SettingsError: no such checkpoint, size, part or precision.
    """
    if not isinstance(folder, Checkpoint):
        folder = Checkpoint(folder, parts, bring=False)
    placed = Ple(ple) if isinstance(ple, str) else ple
    rounds = towers == TowerPrecision.int8.value
    media = media or Media()
    return _plan(folder, nested, parts, precision, placed, context, batch, pack, rounds, media)


def largest_within(
    budget_gb: float, checkpoint: Checkpoint, parts: Collection[str], precision: str, ple: Ple
) -> NestedSize:
    """The largest named size whose weights fit in memory; a mapped PLE table does not count.

    Args:
        budget_gb: in units of 1e9 bytes.
        checkpoint: to choose from.
        parts: loaded beside; an absent part counts nothing.
        precision: of the weights.
        ple: where its PLE table is.

    Raises:
        SettingsError: not even the smallest fits.
    """
    needs: dict[str, int] = {}
    for name in named_sizes(checkpoint.config):
        plan = _plan(checkpoint, name, parts, precision, ple, context=0, batch=0)
        needs[name] = plan.tier("device") + plan.tier("host")
    fitting = [name for name, need in needs.items() if need <= budget_gb * GB]
    if not fitting:
        smallest = min(needs, key=needs.__getitem__)
        raise SettingsError(
            f"nested.budget_gb={budget_gb:g}, but the smallest size '{smallest}' needs "
            f"{bytes_text(needs[smallest])} with {', '.join(parts)}. Raise the budget, leave parts "
            "out, or choose a lower precision."
        )
    return resolve_size(max(fitting, key=needs.__getitem__), checkpoint.config)


def kv_cache_bytes(
    text: TextConfig, size: NestedSize, context: int, batch: int, bytes_per_value: int
) -> int:
    """Bytes of keys and values: sliding layers keep a window, KV-sharing ones nothing."""
    own = [text.layer_types[i] for i in size.layers(text) if i < text.first_shared_layer]
    kept = sum(min(context, text.sliding_window) if kind == SLIDING else context for kind in own)
    return 2 * kept * batch * text.num_key_value_heads * text.head_dim * bytes_per_value


def _plan(
    checkpoint: Checkpoint,
    nested: str | NestedSize,
    parts: Collection[str],
    precision: str,
    ple: Ple,
    context: int,
    batch: int,
    pack: bool = False,
    rounds_towers: bool = False,
    media: Media | None = None,
) -> MemoryPlan:
    if precision not in BYTES_PER_WEIGHT:
        raise SettingsError(f"precision='{precision}'; a plan knows {', '.join(BYTES_PER_WEIGHT)}.")
    if own := rounded(checkpoint.config):
        precision = own.weights.value
    if strange := sorted(set(parts) - set(PARTS)):
        raise SettingsError(f"parts={strange}; accepted are {', '.join(PARTS)}.")
    width, text = BYTES_PER_WEIGHT[precision], checkpoint.config.text
    size = resolve_size(nested, checkpoint.config)
    items: list[Item] = []

    def weights(what: str, parameters: int) -> None:
        if parameters:
            items.append(Item(what, "device", parameters, parameters * width))

    if "text" in parts:
        table = checkpoint.entries.get(PLE_TABLE)
        share = len(size.layers(text)) / text.num_hidden_layers
        embedding = checkpoint.entries.get(EMBEDDING)
        head = embedding.elements if embedding else 0
        items.append(_layers(checkpoint, size, precision, pack))
        if embedding and (pack or precision in _ROUNDED):
            items.append(Item("text embedding, by rows", "disk", head, embedding.bytes))
            rows, columns = embedding.shape
            private = _map_bytes(rows, columns, "int8") if precision in _ROUNDED else head * width
            items.append(Item("output head, the same weights", "device", 0, private))
        else:
            weights("text embedding, also the output head", head)
        if table:
            tier = "host" if ple.placement == "resident" else "disk"
            kept = round(table.elements * share)
            size_bytes = round(table.bytes * share)
            if ple.bits < 16:
                columns = text.hidden_size_per_layer_input
                size_bytes = kept // columns * block_bytes(columns, ple.bits)
            items.append(Item("PLE table", tier, kept, size_bytes))
        for tower in ("vision", "audio"):
            weights(f"{tower} embedder", _elements(checkpoint, f"embed_{tower}"))
    for tower in ("vision", "audio"):
        if tower in parts:
            items += _tower(checkpoint, tower, width, rounds_towers)
            if "text" not in parts:
                weights(f"{tower} embedder", _elements(checkpoint, f"embed_{tower}"))
    if "text" in parts and batch:
        cache = kv_cache_bytes(text, size, context, batch, BYTES_PER_VALUE[precision])
        items.append(Item(f"KV cache, {batch} rows of {context} tokens", "device", 0, cache))
    if media is not None and batch:
        widths = BYTES_PER_VALUE[precision], width
        needed = run_bytes(checkpoint.config, size, parts, context, batch, media, *widths)
        items.append(Item(f"{_ACTIVATIONS}, {batch} rows", "device", 0, needed))
    return MemoryPlan(size.name or str(nested), items)


def _elements(checkpoint: Checkpoint, prefix: str) -> int:
    return sum(entry.elements for entry in checkpoint.part(prefix).values())


def _tower(checkpoint: Checkpoint, tower: str, width: int, rounds: bool) -> list[Item]:
    """A tower, if the checkpoint has it, in `width` bytes a weight but for what is rounded."""
    shapes = [entry.shape for entry in checkpoint.part(tower).values()]
    total = sum(
        _map_bytes(shape[0], shape[1], "int8")
        if rounds and is_tower_map(shape)
        else math.prod(shape) * width
        for shape in shapes
    )
    parameters = sum(map(math.prod, shapes))
    return [Item(f"{tower} tower", "device", parameters, total)] if shapes else []


def _layers(checkpoint: Checkpoint, size: NestedSize, precision: str, pack: bool) -> Item:
    """The text part that is loaded at `size`, the two tables aside."""
    text, parameters, total = checkpoint.config.text, 0, 0
    borders, kept_layers = ffn_borders(checkpoint.config, size), set(size.layers(text))
    between = pairwise([0, *layer_borders(checkpoint.config)])
    runs = [len(kept_layers.intersection(range(start, stop))) for start, stop in between]
    for name, entry in checkpoint.part("text").items():
        kept = cut(name, size, text)
        if name in (PLE_TABLE, EMBEDDING) or kept is None or is_unused_kv(name, text):
            continue
        if is_scale(entry):
            continue
        shape = kept.shape(shape_of(entry), text.hidden_size_per_layer_input)
        parameters += math.prod(shape)
        if precision in _ROUNDED and is_map(name):
            ends = [shape[1]]
            if name.endswith("down_proj.weight"):  # it is in blocks of columns
                ends = borders[int(name.split(".")[2])]
            widths = [stop - start for start, stop in pairwise([0, *ends])]
            heights = [shape[0]]
            if name == PLE_PROJECTION:  # and this one in blocks of rows
                heights = [text.hidden_size_per_layer_input * run for run in runs]
            total += sum(_map_bytes(*block, precision, pack) for block in product(heights, widths))
        else:
            total += math.prod(shape) * BYTES_PER_VALUE[precision]
    return Item("text layers", "device", parameters, total)


def _map_bytes(rows: int, columns: int, precision: str, pack: bool = False) -> int:
    """Bytes of a rounded linear map; a packed int4 one may have an int8 copy beside it."""
    int8 = rows * columns + rows * 4
    if precision == "int8" or not fits_int4(columns):
        return int8
    copy = int8 if pack and _has_copy(rows, columns) else 0
    return rows * columns // 2 + rows * columns // GROUP * 4 + copy


def _has_copy(rows: int, columns: int) -> bool:
    from gemma3n.routes import native  # torch, which a plan does without otherwise

    return not native.fits(Precision.int4, rows, columns)
