"""All that a training run needs to go on bit for bit: written whole, read whole, no pickle."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

_WEIGHTS, _OPTIMIZER, _PROGRESS = "weights.safetensors", "optimizer.safetensors", "progress.json"


def save_state(
    folder: Path, modules: nn.Module, optimizer: Optimizer, progress: dict[str, Any]
) -> None:
    """Write a state; an earlier one stays until this one is whole.

    Args:
        folder: of the state.
        modules: model and heads, float32.
        optimizer: of their parameters, in the same order at every start.
        progress: counters, as JSON.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {n: t.detach().cpu().contiguous() for n, t in modules.state_dict().items()}
    save_file(weights, partial / _WEIGHTS)
    save_file(_flat(optimizer), partial / _OPTIMIZER)
    (partial / _PROGRESS).write_text(json.dumps(progress))
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    earlier = folder.with_name(folder.name + ".earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if folder.exists():
        folder.rename(earlier)
    partial.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)


def load_state(folder: Path, modules: nn.Module, optimizer: Optimizer) -> dict[str, Any] | None:
    """Take over the newest whole state.

    Returns:
        Its progress; None if there is no state.
    """
    earlier = folder.with_name(folder.name + ".earlier")
    if not folder.is_dir() and earlier.is_dir():  # ended between two renames
        earlier.rename(folder)
    if not folder.is_dir():
        return None
    modules.load_state_dict(load_file(folder / _WEIGHTS))
    _unflatten(optimizer, load_file(folder / _OPTIMIZER))
    progress: dict[str, Any] = json.loads((folder / _PROGRESS).read_text())
    return progress


def _flat(optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value).cpu().contiguous()
        for number, entry in state.items()
        for name, value in entry.items()
    }


def _unflatten(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        whole["state"].setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(whole)
