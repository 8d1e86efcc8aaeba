"""A waveform with its transcript -> a 16 kHz file and its manifest line, or why not."""

import math
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE = 16000  # Hz
LONGEST = 12.5  # s; what training takes
_MARGIN = RATE // 10  # samples of silence that stay at each end
_PEAK = 0.6  # of full scale
_FLOOR = 0.015  # of the peak; quieter than this is silence
_WINDOW = RATE // 100  # samples

Pcm = npt.NDArray[np.int16]  # [samples], mono, 16 kHz
Wave = npt.NDArray[np.float32]  # [samples], mono, -1..1


@dataclass(frozen=True)
class Clip:
    """One utterance on its way into the data."""

    id: str  # also names its random numbers
    text: str
    voice: str
    source: str
    set: str
    pcm: Pcm


def rng_of(name: str) -> random.Random:
    """The random numbers of one item, the same wherever and whenever it is made."""
    return random.Random(zlib.crc32(name.encode()))


def tidy(wave: Wave, rate: int) -> Pcm:
    """Resample to 16 kHz, leave 0.1 s of silence at each end, bring the peak to 0.6.

    Args:
        wave: [samples], mono, any scale.
        rate: Hz.

    Returns:
        [samples] at 16 kHz; empty where there is nothing to hear.
    """
    if rate != RATE:
        wave = soxr.resample(wave, rate, RATE)
    peak = float(np.abs(wave).max(initial=0.0))
    if peak < 1e-4:
        return np.zeros(0, np.int16)
    windows = np.add.reduceat(wave**2, range(0, len(wave), _WINDOW)) / _WINDOW
    loud = np.flatnonzero(np.sqrt(windows) > _FLOOR * peak) * _WINDOW
    start, end = int(loud[0]) - _MARGIN, int(loud[-1]) + _WINDOW + _MARGIN
    kept = wave[max(start, 0) : end]
    kept = np.pad(kept, (max(-start, 0), max(end - len(wave), 0)))
    return np.round(kept * (_PEAK / peak * 32767)).astype(np.int16)


def join(parts: Sequence[Pcm], gaps: Sequence[float]) -> Pcm:
    """Parts one after another; `gaps` are the seconds of silence between them."""
    pieces: list[Pcm] = []
    for part, gap in zip(parts, [*gaps, 0.0], strict=True):
        pieces += [part, np.zeros(round(gap * RATE), np.int16)]
    return np.concatenate(pieces)


def implausible(text: str, seconds: float) -> str | None:
    """Why a clip cannot train, or None: too long, or its text does not fit its length."""
    if not re.fullmatch(r"[a-z']+( [a-z']+)*", text):
        return "text has other marks"
    if seconds > LONGEST:
        return "too long"
    if len(text) > 25 * seconds:
        return "text too long for its time"
    # Spelt letters take 0.7 s each, a long word 1 s; the rest is pauses.
    return "text too short for its time" if seconds > 1.5 + 1.1 * len(text.split()) else None


def save(out: Path, step: str, clip: Clip) -> dict[str, Any]:
    """Write a clip's wav under `out/speech/<step>/`; its manifest line comes back."""
    path = Path("speech") / step / f"{clip.id.replace('/', '-')}.wav"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(out / path, clip.pcm, RATE, subtype="PCM_16")
    return {
        "id": clip.id,
        "audio": path.as_posix(),
        "text": clip.text,
        "set": clip.set,
        "voice": clip.voice,
        "source": clip.source,
        "seconds": math.floor(len(clip.pcm) / RATE * 1000) / 1000,
    }


def load(path: Path) -> Pcm:
    """[samples] of a 16 kHz wav that `save` wrote."""
    pcm, _ = soundfile.read(path, dtype="int16")
    return np.asarray(pcm, np.int16)
