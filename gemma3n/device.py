"""`device=`, `precision=` and `pack=` -> what torch calls them, resolved for this machine."""

from dataclasses import dataclass

import torch

from gemma3n.choices import FLOAT16, NO_FLOAT16, ROUNDED, Device, Precision
from gemma3n.errors import SettingsError
from gemma3n.routes import int8, packed


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


@dataclass(frozen=True)
class Formats:
    """Number formats of a load."""

    weights: Precision  # of the text decoder's linear maps; never auto
    text: torch.dtype  # of the decoder's activations, KV cache and small weights
    towers: torch.dtype  # of the towers' activations and weights
    pack: bool = False  # linear maps are private copies in the layout that multiplies fastest


def resolve_formats(
    precision: str, device: torch.device, pack: bool | None = None, own: Precision | None = None
) -> Formats:
    """What a load computes in.

    Args:
        precision: by name; `auto` is the checkpoint's own if it is rounded, else bfloat16 where it
            is computed natively, else float32.
        device: that it is loaded on.
        pack: None packs on a CPU that computes bfloat16 or int8 natively, and never float32, so
            that its results stay those of plain products.
        own: of a checkpoint whose weights are rounded already.

    Raises:
        SettingsError: float16, which overflows in this model, an unknown precision, another than
            that of a rounded checkpoint, or packing that this machine does not do.
    """
    weights = _weights(precision, device, own)
    if weights in ROUNDED:
        native = torch.bfloat16 if _native_bfloat16(device) else torch.float32
        # int8 products take float32 as gladly, and what is between them is faster in it on a CPU.
        text = torch.float32 if device.type == "cpu" else native
        return Formats(weights, text, native, _packs(weights, device, pack))
    dtype = torch.float32 if weights is Precision.float32 else torch.bfloat16
    return Formats(weights, dtype, dtype, _packs(weights, device, pack))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of computation that may be trained; `auto` is as in `resolve_formats`.

    Raises:
        SettingsError: as there, or a precision to which weights are rounded.
    """
    weights = _weights(precision, device, None)
    if weights in ROUNDED:
        raise SettingsError(
            f"precision={precision} is for finished weights; training takes auto, float32 or "
            "bfloat16. Train first, then quantize."
        )
    return torch.float32 if weights is Precision.float32 else torch.bfloat16


def _weights(precision: str, device: torch.device, own: Precision | None) -> Precision:
    if precision in FLOAT16:
        raise SettingsError(f"precision={precision}: {NO_FLOAT16}")
    if precision not in Precision.__members__:
        names = ", ".join(Precision.__members__)
        raise SettingsError(f"precision='{precision}'; accepted are {names}.")
    asked = Precision[precision]
    if own is not None:
        if asked not in (Precision.auto, own):
            raise SettingsError(
                f"precision={precision}, but this checkpoint's weights are {own.value}. Use "
                f"precision=auto or {own.value}, or the checkpoint that it was made from."
            )
        return own
    if asked is Precision.auto:
        return Precision.bfloat16 if _native_bfloat16(device) else Precision.float32
    return asked


def _packs(weights: Precision, device: torch.device, pack: bool | None) -> bool:
    """Whether linear maps are packed.

    Raises:
        SettingsError: it is asked for, and cannot be done.
    """
    if pack is False or (pack is None and weights is Precision.float32):
        return False
    can = device.type == "cpu" and (
        int8.packs() if weights in ROUNDED else packed.is_available(getattr(torch, weights.value))
    )
    if pack and not can:
        raise SettingsError(
            f"pack=true, but {weights.value} cannot be packed on {device.type} with this torch "
            "build: it takes a CPU, and oneDNN. Use pack=auto."
        )
    return can


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return True
    # torch has no public question for this yet; without the answer float32 is the safe choice.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(probe())
