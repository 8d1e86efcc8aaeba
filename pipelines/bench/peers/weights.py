"""Some of a checkpoint's tensors, for a peer's own module."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


def part_of(folder: str, prefix: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors whose names begin with a prefix, without it."""
    found = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if name.startswith(prefix):
                    found[name.removeprefix(prefix)] = opened.get_tensor(name).to(dtype)
    return found
