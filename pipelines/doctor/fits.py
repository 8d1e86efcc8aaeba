"""Released models by nested size and number format -> which of them this machine has room for.

The arithmetic is that of `plan`, over shapes alone: nothing needs to be downloaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.limits import total_memory
from gemma3n.memory import BYTES_PER_WEIGHT, plan_memory
from gemma3n.named import NANO
from pipelines.plan_fit import SPARE
from pipelines.random_checkpoint import SIZES, raw_config, shapes_of

CONTEXT = 4096  # tokens of the row that is planned for
_SIZES = {
    "e4b": ("full", "e3.59b-layer", "e2.98b-layer", "e2.49b-block", "small"),
    "e2b": ("full",),
}


@dataclass(frozen=True)
class Fit:
    """What one nested size needs in one number format."""

    model: str
    size: str
    precision: str
    parameters: int
    bytes: int  # of memory, with room for what a run takes besides
    fits: bool = False


def room() -> int:
    """Bytes that the weights would share: of the GPU if there is one, else of this machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return total_memory()


def fits(memory: int) -> list[Fit]:
    """Every size in every format.

    Args:
        memory: bytes that there are, of the machine or of its GPU.
    """
    return [replace(one, fits=one.bytes <= memory) for one in _needs()]


@lru_cache
def _needs() -> list[Fit]:
    found = []
    for model, checkpoint in _checkpoints().items():
        for size in _SIZES.get(model, ("full", "small")):
            for precision in BYTES_PER_WEIGHT:
                context = min(CONTEXT, checkpoint.config.text.max_position_embeddings)
                plan = plan_memory(checkpoint, size, precision=precision, context=context)
                need = plan.tier("device") + plan.tier("host") + SPARE
                found.append(Fit(model, size, precision, plan.parameters, need))
    return found


def released(text: Mapping[str, Any]) -> Checkpoint:
    """The shapes of a released checkpoint whose decoder differs from E4B's in these fields."""
    config = Config.from_dict(raw_config(text, "all"))
    return Checkpoint.of_shapes(config, shapes_of(config))


@lru_cache
def _checkpoints() -> dict[str, Checkpoint]:
    found = {name: released(text) for name, text in reversed(SIZES.items())}
    return {**found, NANO: Checkpoint(NANO)}
