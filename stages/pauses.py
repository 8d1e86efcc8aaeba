"""Loudness -> where somebody speaks and where nobody does, by energy alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.row import F32

FRAME = 320  # samples of 16 kHz, 20 ms: the step in which pauses are found and cuts are made
_SILENT = -90.0  # dB of full scale, of digital silence and below
_SMOOTH = 3  # frames: the click of one frame is no speech
_FLOOR = 10  # percentile of loudness that is taken for the room
_RANGE = 45.0  # dB from the loudest down, within which what is not the room is speech
_OVER = (3.0, 6.0)  # dB over the floor, least and most, from where on it is speech; else
_SHARE = 1 / 3  # this share of what lies between floor and loudest
_STEADY = 6.0  # dB: with less between floor and loudest, nothing stands out
_QUIET = -60.0, -45.0  # dB of full scale: never speech; not speech if nothing stands out
_SHORTEST = 5  # frames of speech; less is a click


@dataclass(frozen=True)
class Run:
    """Frames `start` up to `end`, which is not one of them."""

    start: int
    end: int


def loudness(samples: F32) -> F32:
    """[frames] in dB of full scale, of each 20 ms; a rest at the end is left out."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    mean = frames.mean(axis=1)  # what a microphone adds to every sample is not heard
    power = np.einsum("fs,fs->f", frames, frames) / FRAME - mean * mean
    return 10 * np.log10(np.maximum(power, 10 ** (_SILENT / 10)))


def speech_runs(levels: F32, before: F32) -> list[Run]:
    """Where somebody speaks, against the noise of the room.

    Speech may not be lost, noise may be kept: in doubt it is speech.

    Args:
        levels: [frames], `loudness` of what is asked about.
        before: [frames], of what came before it, which the room is judged by as well.
    """
    if not len(levels):
        return []
    smooth = smoothed(np.concatenate([before, levels]))
    loudest = float(smooth.max())
    floor = max(float(np.percentile(smooth, _FLOOR)), loudest - _RANGE)
    if loudest - floor < _STEADY:
        threshold = _QUIET[1]
    else:
        threshold = floor + float(np.clip((loudest - floor) * _SHARE, *_OVER))
    speaks = smooth[len(before) :] > max(threshold, _QUIET[0])
    return [run for run in runs(speaks) if run.end - run.start >= _SHORTEST]


def smoothed(levels: F32) -> F32:
    """Loudness, a mean over 60 ms each."""
    padded = np.pad(levels, _SMOOTH // 2, mode="edge")
    mean: F32 = np.convolve(padded, np.full(_SMOOTH, 1 / _SMOOTH, np.float32), mode="valid")
    return mean


def runs(flags: npt.NDArray[np.bool_]) -> list[Run]:
    """Where flags are set, as unbroken runs."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [Run(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
