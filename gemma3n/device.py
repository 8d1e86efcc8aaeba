"""`device=` and `precision=` -> what torch calls them, resolved for this machine."""

import torch

from gemma3n.choices import FLOAT16, NO_FLOAT16, Device, Precision
from gemma3n.errors import SettingsError


def resolve_device(device: str) -> torch.device:
    """The device by name; `auto` is the first of cuda, mps, cpu that this machine has.

    Raises:
        SettingsError: an unknown device, or one that this machine lacks.
    """
    kind = device.split(":")[0]
    if kind not in Device.__members__:
        names = ", ".join(Device.__members__)
        raise SettingsError(f"device='{device}'; accepted are {names} and cuda:N.")
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if kind == "auto":
        return torch.device(next(name for name, there in here.items() if there))
    if not here[kind]:
        found = ", ".join(name for name, there in here.items() if there)
        raise SettingsError(
            f"device='{device}', but this machine has {found} only. Use device=auto, or install a "
            f"torch build with {kind} support."
        )
    return torch.device(device)


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations; `auto` is bfloat16 where it is computed natively.

    Raises:
        SettingsError: float16, which overflows in this model, or an unknown precision.
    """
    if precision in FLOAT16:
        raise SettingsError(f"precision={precision}: {NO_FLOAT16}")
    if precision not in Precision.__members__:
        names = ", ".join(Precision.__members__)
        raise SettingsError(f"precision='{precision}'; accepted are {names}.")
    if precision == "float32" or (precision == "auto" and not _native_bfloat16(device)):
        return torch.float32
    return torch.bfloat16


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return True
    # torch has no public question for this yet; without the answer float32 is the safe choice.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(probe())
