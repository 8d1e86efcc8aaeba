"""Waveform -> log mel spectrogram, as the audio tower was trained on.

Magnitudes (not powers) of a Hann-windowed FFT, summed by HTK-spaced triangles, natural log.
numpy only, so that reading machines need no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from gemma3n.config import AudioConfig
from gemma3n.errors import InputError, SettingsError

_CLIP_MULTIPLE = 128  # a clip is padded with silence to a multiple of so many samples
_BLOCK = 128  # frames at a time: their FFT stays in cache, 1.7 times faster than a whole clip

# What the reference's extractor could also do, and no released checkpoint asks for.
_FIXED = {
    "dither": 0.0,
    "input_scale_factor": 1.0,
    "padding_side": "right",
    "padding_value": 0.0,
    "per_bin_mean": None,
    "per_bin_stddev": None,
    "preemphasis_htk_flavor": True,
}


@dataclass(frozen=True)  # hashable, so that window and filters are made once
class MelConfig:
    """How frames are cut and binned; field names are those of `preprocessor_config.json`."""

    sampling_rate: int = 16_000  # Hz
    feature_size: int = 128  # mel bins
    frame_length: int = 512  # samples
    hop_length: int = 160  # samples
    fft_length: int = 1024  # samples, zero-padded from frame_length
    min_frequency: float = 125.0  # Hz
    max_frequency: float = 7600.0  # Hz
    preemphasis: float = 0.97
    mel_floor: float = 1e-5  # smallest magnitude that the log sees

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "feature_size", "frame_length", "hop_length", "mel_floor"):
            if getattr(self, name) <= 0:
                raise SettingsError(
                    f"{name}={getattr(self, name)}; it must be above 0. "
                    "Take it from the checkpoint's preprocessor_config.json."
                )
        if self.fft_length < self.frame_length:
            raise SettingsError(
                f"fft_length={self.fft_length} is shorter than a frame of {self.frame_length} "
                "samples. Raise fft_length, or lower frame_length."
            )
        if not 0 <= self.min_frequency < self.max_frequency <= self.sampling_rate / 2:
            raise SettingsError(
                f"mel bins from {self.min_frequency} to {self.max_frequency} Hz; they must rise "
                f"within 0 to {self.sampling_rate / 2} Hz, half the sampling rate. "
                "Correct min_frequency, max_frequency or sampling_rate."
            )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "MelConfig":
        """Read the audio half of `preprocessor_config.json`; what it leaves out keeps its default.

        Raises:
            SettingsError: it asks for something that this code does not do.
        """
        for name, accepted in _FIXED.items():
            if raw.get(name, accepted) != accepted:
                raise SettingsError(
                    f"preprocessor_config.json has {name}={raw[name]!r}; only {accepted!r} is "
                    "implemented. Use the file of a released Gemma 3n checkpoint."
                )
        known = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
        for name, value in known.items():
            kind = type(getattr(cls, name))
            if type(value) is not kind and (kind is int or type(value) is not int):
                raise SettingsError(
                    f"preprocessor_config.json has {name}={value!r}; it must be of type "
                    f"{kind.__name__}. Correct the file."
                )
        frame_length = known.get("frame_length", cls.frame_length)
        # The reference derives the FFT size, whatever the file says; a file that says otherwise
        # was edited in the belief that it matters.
        fft_length = 1 << (frame_length - 1).bit_length() << bool(raw.get("fft_overdrive", True))
        if known.setdefault("fft_length", fft_length) != fft_length:
            raise SettingsError(
                f"preprocessor_config.json has fft_length={known['fft_length']}, but frame_length="
                f"{frame_length} with fft_overdrive={raw.get('fft_overdrive', True)} means "
                f"{fft_length}. Correct one of the three."
            )
        return cls(**known)


def log_mel(
    waveform: npt.NDArray[np.float32], config: MelConfig | None = None
) -> npt.NDArray[np.float32]:
    """Turn one clip into the frames that the audio tower reads; every one of them is real.

    Args:
        waveform: [samples], mono, 16 kHz, -1..1
        config: the checkpoint's; None is that of the released ones.

    Returns:
        [frames, 128], natural log of the magnitude; 10 ms a frame.

    Raises:
        InputError: not a mono float clip, too short for a frame, or not finite.
    """
    config = config or MelConfig()
    _check(waveform, config)
    samples = np.zeros(-(-waveform.size // _CLIP_MULTIPLE) * _CLIP_MULTIPLE, np.float32)
    samples[: waveform.size] = waveform
    # The reference emphasises each frame by itself, its first sample as x[0] * (1 - preemphasis).
    # The window is 0 there, so the whole clip at once gives the same frames bit for bit.
    samples[1:] -= np.float32(config.preemphasis) * samples[:-1]
    # A frame needs frame_length + 1 samples: the reference's pre-emphasis drops the last.
    frames = sliding_window_view(samples, config.frame_length)[: -1 : config.hop_length]
    window, (bins, weights) = hann_window(config), _bands(config)
    mel = np.empty((len(frames), config.feature_size), np.float32)
    for start in range(0, len(frames), _BLOCK):
        magnitude = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window, config.fft_length))
        # Each triangle times its own few bins, in float64. A matrix product costs the same, but
        # BLAS spreads it over threads, and beside a busy model every block would wait for a core.
        binned = np.einsum("fmb,mb->fm", magnitude.take(bins, axis=1), weights)
        mel[start : start + _BLOCK] = np.log(np.maximum(binned, config.mel_floor))
    return mel


def tokens_for(frames: int, config: AudioConfig) -> int:
    """Soft tokens that a clip of `frames` mel frames becomes in the audio tower."""
    for time_stride, _ in config.sscp_conv_stride_size:
        frames = (frames - 1) // time_stride + 1
    return (frames - 1) // config.conf_reduction_factor + 1


@lru_cache(maxsize=8)
def hann_window(config: MelConfig) -> npt.NDArray[np.float32]:
    """[frame_length], periodic: it starts at 0 and would be 0 again one sample past its end."""
    # float32 throughout: a window rounded once at the end moves quiet bins by 7e-4.
    angle = 2 * np.pi * np.arange(config.frame_length, dtype=np.float32) / config.frame_length
    return _read_only(0.5 - 0.5 * np.cos(angle))


def mel_edges(config: MelConfig) -> npt.NDArray[np.float64]:
    """[mel bins + 2] on the mel scale: where triangles begin and end; all but two are a middle."""
    low, high = to_mel(np.array([config.min_frequency, config.max_frequency]))
    return np.linspace(low, high, config.feature_size + 2)


def to_mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Frequencies on HTK's mel scale."""
    return np.asarray(2595 * np.log10(1 + hertz / 700))


def to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What `to_mel` was given."""
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


@lru_cache(maxsize=8)
def mel_filters(config: MelConfig) -> npt.NDArray[np.float64]:
    """[fft bins, mel bins] triangles, evenly spaced on the HTK mel scale, each of height 1."""
    edges = to_hertz(mel_edges(config))  # a triangle rises, peaks and falls on three
    bins = np.linspace(0, config.sampling_rate / 2, config.fft_length // 2 + 1)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return _read_only(np.maximum(0, np.minimum(rise, fall)))


@lru_cache(maxsize=8)
def _bands(config: MelConfig) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """The filters without their zeros: FFT bins and their weights, each [mel bins, widest]."""
    filters = mel_filters(config)
    widest = int((filters > 0).sum(axis=0).max())
    first = np.minimum((filters > 0).argmax(axis=0), len(filters) - widest)
    bins = first[:, None] + np.arange(widest)
    return _read_only(bins), _read_only(np.take_along_axis(filters.T, bins, axis=1))


def _check(waveform: npt.NDArray[np.float32], config: MelConfig) -> None:
    if waveform.ndim != 1 or waveform.dtype.kind != "f":
        raise InputError(
            f"waveform is {waveform.dtype} of shape {list(waveform.shape)}; a clip is float32 "
            "[samples], one channel, -1..1. Mix its channels down and divide integers by their "
            "full scale."
        )
    # Silence is added up to a multiple, which may complete a frame of frame_length + 1 samples.
    needed = config.frame_length // _CLIP_MULTIPLE * _CLIP_MULTIPLE + 1
    if waveform.size < needed:
        raise InputError(
            f"the clip has {waveform.size} samples; a mel frame needs {needed}, "
            f"{1000 * needed / config.sampling_rate:.0f} ms. Leave it out, or join it to its "
            "neighbour."
        )
    if not (finite := np.isfinite(waveform)).all():
        raise InputError(
            f"{waveform.size - finite.sum()} of the clip's {waveform.size} samples are NaN or "
            "infinite; samples are -1..1. Decode the file again, or repair it."
        )


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)  # cached, so every caller holds the same one
    return array
