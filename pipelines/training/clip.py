"""An example's clip or clips -> one waveform, and the phone that each frame of it is in."""

import numpy as np

from pipelines.training.augment import RATE, augment_clip
from pipelines.training.examples import PAUSE_S, Example
from stages.audio import read_clip
from stages.row import F32

_FRAME_S = 0.04  # of the audio tower


def heard(example: Example, seed: int | None) -> tuple[F32, str | None]:
    """Read the clips of an example, pauses between them.

    Args:
        example: of audio.
        seed: of the augmentation; None for none.

    Returns:
        [samples] at 16 kHz; the alignment, None unless all clips have one.
    """
    parts = example.parts or (example,)
    waveforms: list[F32] = []
    phones: list[str] = []
    frames = samples = 0
    for n, part in enumerate(parts):
        if n:
            waveforms.append(np.zeros(round(PAUSE_S * RATE), np.float32))
            samples += len(waveforms[-1])
        if (silent := round(samples / RATE / _FRAME_S) - frames) > 0:
            phones.append(f"SIL:{silent}")
            frames += silent
        waveform = read_clip(str(part.path))
        if seed is not None:
            waveform = augment_clip(waveform, seed + n)
        waveforms.append(waveform)
        samples += len(waveform)
        if part.phones:
            # Another speed: the alignment must follow.
            said = rescaled(part.phones, part.seconds, len(waveform) / RATE)
            phones.append(said)
            frames += sum(int(word.split(":")[1]) for word in said.split())
    whole = waveforms[0] if len(parts) == 1 else np.concatenate(waveforms)
    return whole, " ".join(phones) if all(part.phones for part in parts) else None


def rescaled(phones: str, before_s: float, after_s: float) -> str:
    """An alignment of a clip that has been made faster or slower.

    >>> rescaled("AH:4 B:6", 1.0, 0.5)
    'AH:2 B:3'
    """
    ratio = after_s / before_s if before_s else 1.0
    parts, end, done = [], 0, 0
    for part in phones.split():
        phone, length = part.split(":")
        end += int(length)
        if (now := round(end * ratio)) > done:
            parts.append(f"{phone}:{now - done}")
            done = now
    return " ".join(parts)
