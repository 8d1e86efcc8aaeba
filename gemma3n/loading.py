"""A checkpoint folder and a few words on how -> a loaded model."""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from gemma3n.adapter_files import read_adapter
from gemma3n.checkpoint import PARTS, Checkpoint
from gemma3n.choices import TowerPrecision
from gemma3n.compiling import check, compile_decoder
from gemma3n.config import Config
from gemma3n.device import Formats, resolve_device, resolve_formats
from gemma3n.errors import SettingsError
from gemma3n.huge_pages import into_huge_pages
from gemma3n.limits import available_memory
from gemma3n.matformer import FULL_SIZE, NestedSize, resolve_size
from gemma3n.memory import largest_within, plan_memory
from gemma3n.model import Gemma3n
from gemma3n.named import checkpoint_folder, pinned
from gemma3n.placement import Ple
from gemma3n.readable import bytes_text
from gemma3n.rounded import rounded

logger = logging.getLogger(__name__)

_CACHED = 32_000_000  # bytes of weights that stay in a processor's cache: plain products are faster
_SHARE = 0.8  # of the free memory, what packed copies may take


def load(
    folder: str | Path,
    nested: str | NestedSize = "full",
    budget_gb: float | None = None,
    parts: Collection[str] | None = None,
    precision: str = "auto",
    pack: bool | None = None,
    device: str = "auto",
    ple: str | Ple = "mmap",
    adapter: str | Path | None = None,
    towers: str = "auto",
    compile: bool = False,
) -> Gemma3n:
    """Load a checkpoint of the released layout.

    Text is ready when this returns; a tower is loaded when it is first used. Weights stay mapped
    where dtype and device allow, so that memory is what has been touched.

    Args:
        folder: with config.json, *.safetensors and (for text in and out) tokenizer.model; or
            `nano`, the small one that comes with this package; or `owner/name` or
            `owner/name@revision` on the Hugging Face hub, of which what the parts need is brought.
        nested: size to load, by name or itself; smaller ones can then run without a copy.
        budget_gb: instead of `nested`: the largest named size whose weights fit in so many GB.
        parts: of "text", "vision", "audio": all that the checkpoint has, by default.
        precision: "auto", "float32" or "bfloat16"; "int8" or "int4" round the text decoder's linear
            maps, unless the checkpoint's are: then it is "auto" or the same.
        pack: true makes copies of those maps in the layout that a CPU multiplies fastest with,
            false leaves them mapped as far as they can be; None packs bfloat16, int8 and int4
            where this machine can.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        ple: "mmap" leaves the per-layer embeddings in their file, "resident" copies them to RAM;
            a `gemma3n.Ple` says in how many bits, too.
        adapter: folder of a LoRA adapter of the text decoder, in peft's layout; it is computed
            beside the weights, in any precision and at any nested size.
        towers: "int8" rounds the large linear maps of the vision and the audio tower, and their
            activations token by token; "auto" leaves them.
        compile: fuse the decoder's small operations with `torch.compile`, which takes a minute at
            first use (less when it was done before), and changes the last bits of results. On a GPU
            each step of decoding is then a CUDA graph, too.

    Raises:
        SettingsError: any of these is not to be had; nothing has been loaded then.

    Example:
        >>> model = gemma3n.load("checkpoint", nested="small", parts=["text", "audio"])
        >>> model.generate_ids([[2, 9, 8]], max_new_tokens=20, stop_ids=[])
        >>> model = gemma3n.load("google/gemma-3n-E2B-it", parts=["text"])
    """
    ple = Ple(ple) if isinstance(ple, str) else ple
    where = resolve_device(device)
    if towers not in TowerPrecision.__members__:
        raise SettingsError(
            f"towers='{towers}'; accepted are {', '.join(TowerPrecision.__members__)}. "
            "Choose one of them."
        )
    if budget_gb is not None and nested not in ("full", FULL_SIZE):
        raise SettingsError(
            f"nested={nested!r} and budget_gb={budget_gb:g} both choose a size. Give one of them."
        )
    folder = pinned(folder)
    own = rounded(Config.from_folder(checkpoint_folder(folder)))
    formats = resolve_formats(precision, where, pack, own.weights if own else None)
    chosen = _chosen_parts(checkpoint_folder(folder), parts)
    if compile and "text" in chosen:
        check(str(where))
    checkpoint = Checkpoint(folder, chosen)
    if budget_gb is not None:
        nested = largest_within(budget_gb, checkpoint, chosen, formats.weights.value, ple)
        logger.info("%.2f GB: nested=%s is the largest that fits", budget_gb, nested.name)
    size = resolve_size(nested, checkpoint.config)
    if pack is None and formats.pack and "text" in chosen:
        formats = _packed_if_it_pays(checkpoint, size, formats)
    rounds_towers = TowerPrecision[towers] is TowerPrecision.int8
    model = Gemma3n(checkpoint, size, chosen, where, formats, ple, rounds_towers)
    if adapter is not None and "text" in chosen:
        read_adapter(adapter, checkpoint).to(where, formats.text).attach(model.text)
    if compile and "text" in chosen:
        compile_decoder(model.text)
        model.static = where.type == "cuda"
    if formats.pack and "text" in chosen:
        logger.info("%s in huge pages", bytes_text(into_huge_pages()))
    return model


def _packed_if_it_pays(checkpoint: Checkpoint, size: NestedSize, formats: Formats) -> Formats:
    """The formats, without packing where it gains nothing or the copies would not fit."""
    plan = plan_memory(checkpoint, size, ["text"], formats.weights.value, batch=0, pack=True)
    needed, room = plan.tier("device"), available_memory()
    if needed < _CACHED:
        return replace(formats, pack=False)
    if room is None or needed <= room * _SHARE:
        return formats
    logger.warning(
        "not packed: %s of memory are free, and copies need %s; decoding is slower. pack=true "
        "packs all the same",
        bytes_text(room),
        bytes_text(needed),
    )
    return replace(formats, pack=False)


def _chosen_parts(folder: Path, parts: Collection[str] | None) -> list[str]:
    """The parts to load, in order.

    Raises:
        SettingsError: an unknown part, or one that the checkpoint does not hold.
    """
    config = Config.from_folder(folder)
    there = {"text": True, "vision": config.vision, "audio": config.audio}
    if parts is None:
        return [part for part in PARTS if there[part] is not None]
    if isinstance(parts, str) or not parts or (strange := set(parts) - set(PARTS)):
        came = parts if isinstance(parts, str) or not parts else sorted(strange)
        raise SettingsError(f"parts={came!r}; give a list of {', '.join(PARTS)}.")
    if absent := [part for part in parts if there[part] is None]:
        raise SettingsError(
            f"parts asks for {', '.join(absent)}, but the checkpoint in '{folder}' has "
            "text only. Leave it out, or use a multimodal checkpoint."
        )
    return [part for part in PARTS if part in parts]
