"""Where a training run computes, and in which number formats its matrix products are."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from gemma3n.choices import Device, Precision
from gemma3n.device import resolve_device, resolve_precision
from gemma3n.errors import SettingsError


def training_device(asked: Device, index: int = 0) -> torch.device:
    """The device of one process; `auto` is cuda where there is one, else cpu.

    Args:
        asked: what the settings say.
        index: number of the process on its machine; each has a GPU of its own.

    Raises:
        SettingsError: mps, no GPU, or fewer than there are processes.
    """
    if asked is Device.mps:
        raise SettingsError("device=mps; training takes auto, cpu or cuda. Choose one of them.")
    if asked is Device.auto:
        asked = Device.cuda if torch.cuda.is_available() else Device.cpu
    device = resolve_device(asked.value)
    if device.type == "cpu":
        return device
    if index >= (count := torch.cuda.device_count()):
        raise SettingsError(
            f"process {index + 1} finds no GPU of its own: this machine has {count}. Use "
            f"processes={count} at most, or device=cpu."
        )
    return torch.device("cuda", index)


@dataclass(frozen=True)
class Products:
    """Number formats of matrix products; weights, gradients and sums of losses are float32."""

    audio: torch.dtype = torch.float32  # of the audio tower
    others: torch.dtype = torch.float32  # of the vision tower and the decoder


def products(precision: Precision, device: torch.device) -> Products:
    """What a device computes in.

    On a CPU only the audio tower may be in bfloat16: there, gradients of depthwise convolutions
    and small decoder steps are slower in it.

    Raises:
        SettingsError: a precision that is for finished weights.
    """
    dtype = resolve_precision(precision.value, device)
    return Products(dtype, torch.float32 if device.type == "cpu" else dtype)


def mixed(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Within it matrix products are computed in `dtype`."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)
