"""What a load needs, tier by tier, from the files' headers alone."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gemma3n.checkpoint import PARTS, PLE_TABLE, Checkpoint, cut, is_unused_kv
from gemma3n.config import SLIDING, TextConfig
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize, named_sizes, resolve_size
from gemma3n.placement import Ple, block_bytes
from gemma3n.readable import bytes_text

BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2}
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
) -> MemoryPlan:
    """Plan a load without reading a weight.

    Args:
        folder: of the checkpoint, or its name; weights that are on the hub stay there. Or one that
            was opened.
        nested: size, by name or itself.
        parts: of text, vision, audio.
        precision: float32 or bfloat16, of weights and KV cache; the PLE table keeps its own.
        ple: mmap (the table stays on disk) or resident (in host memory); a `Ple` says in how many
            bits, too.
        context: tokens a row may reach, for the KV cache.
        batch: rows at once, for the KV cache.

    Raises:
        SettingsError: no such checkpoint, size, part or precision.
    """
    if not isinstance(folder, Checkpoint):
        folder = Checkpoint(folder, parts, bring=False)
    placed = Ple(ple) if isinstance(ple, str) else ple
    return _plan(folder, nested, parts, precision, placed, context, batch)


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
) -> MemoryPlan:
    if precision not in BYTES_PER_WEIGHT:
        raise SettingsError(f"precision='{precision}'; a plan knows {', '.join(BYTES_PER_WEIGHT)}.")
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
        embedding = checkpoint.entries.get("text.embed_tokens.weight")
        head = embedding.elements if embedding else 0
        weights("text layers", _text_elements(checkpoint, size) - head)
        weights("text embedding, also the output head", head)
        if table:
            tier = "host" if ple.placement == "resident" else "disk"
            kept = round(table.elements * share)
            size_bytes = round(table.bytes * share)
            if ple.bits < 16:
                width = text.hidden_size_per_layer_input
                size_bytes = kept // width * block_bytes(width, ple.bits)
            items.append(Item("PLE table", tier, kept, size_bytes))
        for tower in ("vision", "audio"):
            weights(f"{tower} embedder", _elements(checkpoint, f"embed_{tower}"))
    for tower in ("vision", "audio"):
        if tower in parts:
            weights(f"{tower} tower", _elements(checkpoint, tower))
            if "text" not in parts:
                weights(f"{tower} embedder", _elements(checkpoint, f"embed_{tower}"))
    if "text" in parts and batch:
        cache = kv_cache_bytes(text, size, context, batch, width)
        items.append(Item(f"KV cache, {batch} rows of {context} tokens", "device", 0, cache))
    return MemoryPlan(size.name or str(nested), items)


def _elements(checkpoint: Checkpoint, prefix: str) -> int:
    return sum(entry.elements for entry in checkpoint.part(prefix).values())


def _text_elements(checkpoint: Checkpoint, size: NestedSize) -> int:
    """Weights of the text part that are loaded at `size`, the PLE table aside."""
    text, total = checkpoint.config.text, 0
    for name, entry in checkpoint.part("text").items():
        kept = cut(name, size, text)
        if name == PLE_TABLE or kept is None or is_unused_kv(name, text):
            continue
        total += math.prod(kept.shape(entry.shape, text.hidden_size_per_layer_input))
    return total
