"""Gemma 3n in plain PyTorch: nested sizes, per-layer embeddings off the accelerator, parts.

The names below are the library; importing this package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemma3n.matformer import NestedSize
from gemma3n.placement import Ple
from gemma3n.policy import Policy

if TYPE_CHECKING:
    from gemma3n.audio.mel import log_mel
    from gemma3n.chat import Mark, Turn
    from gemma3n.errors import InputError, SettingsError
    from gemma3n.loading import load
    from gemma3n.merging import merge_checkpoint
    from gemma3n.model import Gemma3n
    from gemma3n.offload import offload_embeddings
    from gemma3n.quantize import quantize_checkpoint
    from gemma3n.slicing import slice_checkpoint
    from gemma3n.vision.pixels import image_pixels

__all__ = [
    "Gemma3n",
    "InputError",
    "Mark",
    "NestedSize",
    "Ple",
    "Policy",
    "SettingsError",
    "Turn",
    "image_pixels",
    "load",
    "log_mel",
    "merge_checkpoint",
    "offload_embeddings",
    "quantize_checkpoint",
    "slice_checkpoint",
]

_HOMES = {
    "Gemma3n": "gemma3n.model",
    "InputError": "gemma3n.errors",
    "Mark": "gemma3n.chat",
    "SettingsError": "gemma3n.errors",
    "Turn": "gemma3n.chat",
    "image_pixels": "gemma3n.vision.pixels",
    "load": "gemma3n.loading",
    "log_mel": "gemma3n.audio.mel",
    "merge_checkpoint": "gemma3n.merging",
    "offload_embeddings": "gemma3n.offload",
    "quantize_checkpoint": "gemma3n.quantize",
    "slice_checkpoint": "gemma3n.slicing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gemma3n' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
