"""A clip or a picture -> the same as another microphone, room or camera might have brought it.

Filters, noise and gain are audiomentations'. What it draws depends on the seed of the call alone.
"""

import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gemma3n.audio.mel import MelConfig, mel_edges, to_hertz, to_mel
from stages.row import F32

if TYPE_CHECKING:
    from audiomentations import Compose
    from PIL.Image import Image

RATE = 16_000  # Hz
SLOWEST, _FASTEST = 0.9, 1.1
_REVERB_SHARE = 0.25  # of the clips
_REVERB_S = (0.05, 0.4)  # until an echo has fallen by 60 dB
_TIME_MASKS, _MASKED_FRAMES = 2, 25  # SpecAugment (arXiv 1904.08779), 10 ms a frame
_BIN_MASKS, _MASKED_BINS = 2, 20
_SILENCE = float(np.log(1e-5))  # of a mel bin
_TRACT = 0.15  # share by which another speaker's formants may lie higher or lower


def augment_clip(waveform: F32, seed: int) -> F32:
    """Another speed, room, filter, noise and loudness.

    Args:
        waveform: [samples], 16 kHz, -1..1.
        seed: of all draws.

    Returns:
        [samples], up to a tenth longer or shorter.
    """
    import soxr

    draws = random.Random(seed)
    speed = draws.uniform(SLOWEST, _FASTEST)
    changed: F32 = soxr.resample(waveform, RATE * speed, RATE)
    if draws.random() < _REVERB_SHARE:
        changed = _reverb(changed, draws)
    state = random.getstate(), np.random.get_state()
    # audiomentations draws from the global generators only.
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        return np.asarray(_chain()(samples=changed, sample_rate=RATE), np.float32)
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])


def mask_mel(mel: F32, seed: int) -> F32:
    """SpecAugment: some frames and some bins of [frames, bins] silenced."""
    draws, masked = random.Random(f"mask {seed}"), mel.copy()
    frames, bins = mel.shape
    for _ in range(_TIME_MASKS):
        width = draws.randint(0, min(_MASKED_FRAMES, frames // 8))
        start = draws.randint(0, frames - width)
        masked[start : start + width] = _SILENCE
    for _ in range(_BIN_MASKS):
        width = draws.randint(0, min(_MASKED_BINS, bins // 4))
        start = draws.randint(0, bins - width)
        masked[:, start : start + width] = _SILENCE
    return masked


def warp_mel(mel: F32, seed: int, config: MelConfig) -> F32:
    """Vocal tract length perturbation (Jaitly and Hinton, 2013): formants of another speaker.

    Args:
        mel: [frames, bins], log.
        seed: of the draw.
        config: how its bins are spaced.

    Returns:
        [frames, bins]; what lies at f in it lay at f times 0.85 to 1.15.
    """
    factor = random.Random(f"tract {seed}").uniform(1 - _TRACT, 1 + _TRACT)
    middles = mel_edges(config)[1:-1]
    moved = to_mel(to_hertz(middles) * factor)
    taken = np.interp(moved, middles, np.arange(len(middles)))  # bins, and shares of the next
    below = np.minimum(taken.astype(int), len(middles) - 2)
    share = (taken - below).astype(np.float32)
    warped: F32 = mel[:, below] * (1 - share) + mel[:, below + 1] * share
    return warped


def augment_image(image: "Image", seed: int) -> "Image":
    """Shifted, a little turned, brighter or darker: RGB, as it was."""
    from PIL import ImageEnhance
    from PIL.Image import Resampling

    draws = random.Random(seed)
    side = max(image.size)
    moved = (int(draws.uniform(-0.08, 0.08) * side), int(draws.uniform(-0.08, 0.08) * side))
    picture = image.rotate(
        draws.uniform(-10, 10),
        Resampling.BILINEAR,
        translate=moved,
        fillcolor=cast(tuple[int, ...], image.getpixel((0, 0))),
    )
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(draws.uniform(0.75, 1.25))
    return picture


def _reverb(waveform: F32, draws: random.Random) -> F32:
    """Convolve with decaying noise, a small room's answer to a click."""
    from scipy.signal import fftconvolve

    decay = int(draws.uniform(*_REVERB_S) * RATE)
    noise = np.random.default_rng(draws.getrandbits(32)).standard_normal(decay)
    answer = noise * np.exp(-6.9 * np.arange(decay) / decay) * draws.uniform(0.02, 0.2)
    answer[0] = 1.0
    wet = fftconvolve(waveform, answer.astype(np.float32))[: len(waveform)]
    return (wet / max(1.0, float(np.abs(wet).max()))).astype(np.float32)


@lru_cache(maxsize=1)
def _chain() -> "Compose":
    from audiomentations import (
        AddGaussianSNR,
        Compose,
        Gain,
        HighPassFilter,
        LowPassFilter,
        SevenBandParametricEQ,
    )

    steps: list[Any] = [
        SevenBandParametricEQ(min_gain_db=-8, max_gain_db=8, p=0.4),
        HighPassFilter(min_cutoff_freq=60, max_cutoff_freq=350, p=0.2),
        LowPassFilter(min_cutoff_freq=3200, max_cutoff_freq=7000, p=0.3),
        AddGaussianSNR(min_snr_db=8, max_snr_db=40, p=0.5),
        Gain(min_gain_db=-14, max_gain_db=6, p=0.8),
    ]
    return Compose(steps)
