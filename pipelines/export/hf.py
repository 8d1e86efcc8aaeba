"""A nested size -> a folder that transformers loads, all parts and the processor's files."""

from pathlib import Path
from typing import Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.matformer import NestedSize
from gemma3n.new_checkpoint import copy_companions
from gemma3n.save import write_json, write_shards
from gemma3n.slicing import sliced_config, sliced_outputs
from pipelines.export.hf_config import explicit_config, generation_config
from pipelines.export.wide_tower import widened


def write_hf(checkpoint: Checkpoint, size: NestedSize, folder: Path) -> None:
    """Write config, weights and companions.

    Weights are those of the slice, bit for bit, but for a vision tower narrower than timm builds.

    Args:
        checkpoint: to export from.
        size: what to keep of it.
        folder: exists, and is empty.

    Raises:
        SettingsError: a vision tower that timm does not build.
    """
    copy_companions(checkpoint, folder)
    raw = sliced_config(checkpoint, size)
    outputs = sliced_outputs(checkpoint, size)
    config: dict[str, Any] = explicit_config(raw)
    outputs = widened(outputs, config)
    write_json(folder / "config.json", config)
    if not (folder / "generation_config.json").exists():
        write_json(folder / "generation_config.json", generation_config(checkpoint))
    write_shards(folder, list(outputs.values()))
