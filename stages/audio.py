"""A file's sound -> blocks of samples, as they are read: memory does not grow with its length."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gemma3n.errors import InputError, reason
from stages.container import NoExtraError, open_container, sound_of
from stages.media import Media, unreadable
from stages.opened import opened
from stages.row import F32
from stages.sound import Sound

if TYPE_CHECKING:
    from soundfile import SoundFile

RATE = 16_000  # Hz, what the audio tower was trained on
CLIP_S = 30  # seconds of a clip that is used whole
_RATES = (1_000, 1_000_000)  # Hz, of a file
_VALUES = 2**19  # samples of all channels together that are read at once
_ROUNDED_S = 0.1  # a manifest's duration may be rounded; by more than this it means a part
# What libsndfile logs of a header that promises more than is there.
_CUT_OFF = re.compile(r"(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)")
_UNKNOWN_SIZE = 2**31 - 2**16  # from here on, a header was written before its data were known


def sound_blocks(
    path: str, offset_s: float = 0.0, stated_s: float | None = None, max_hours: float = 24.0
) -> Iterator[F32]:
    """Read a file's sound, or a part of it, of any rate and number of channels.

    Args:
        path: as `opened` takes it; a video counts as its sound.
        offset_s: where the part begins, in seconds of the file.
        stated_s: how long it is; None, or below 0, is up to the end. More than there is, or up to
            0.1 s less, is up to the end too.
        max_hours: that it may last.

    Yields:
        [samples], mono, 16 kHz, -1..1; together they are the sound without a gap, and the first
        sample of all is at `offset_s`.

    Raises:
        InputError: no such file, not audio, broken, cut off, empty, or too long.
    """
    import soxr

    with opened_sound(path) as sound:
        chunks, seconds = sound.chunks(offset_s), sound.seconds
        if seconds is not None:
            seconds -= offset_s
        if stated_s is not None and stated_s >= 0:
            limit, rounded = round(stated_s * sound.rate), round(_ROUNDED_S * sound.rate)
            chunks = _first(chunks, limit, rounded)
            seconds = stated_s if seconds is None else min(seconds, stated_s)
        if seconds is not None and seconds > max_hours * 3600:
            raise InputError(_too_long(path, f"{seconds / 3600:.3g} hours", max_hours))
        resampler = soxr.ResampleStream(sound.rate, RATE, 1, dtype="float32")
        done = 0
        for chunk in chunks:
            done += len(chunk)
            if done > max_hours * 3600 * sound.rate:
                raise InputError(_too_long(path, "longer than its header says", max_hours))
            if not np.isfinite(chunk).all():
                raise InputError(
                    f"clip '{path}' holds samples that are no numbers (NaN or infinite); they "
                    "should be -1..1. Export it again, as 16-bit samples for instance."
                )
            yield chunk if sound.rate == RATE else resampler.resample_chunk(chunk)
        if not done:
            raise InputError(_empty(path, offset_s, stated_s))
        if sound.rate != RATE:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def read_clip(path: str) -> F32:
    """Read one whole clip.

    Returns:
        [samples], mono, 16 kHz, -1..1

    Raises:
        InputError: as `sound_blocks`, or it is longer than 30 s.
    """
    parts: list[F32] = []
    for block in sound_blocks(path):
        parts.append(block)
        if sum(map(len, parts)) > CLIP_S * RATE:
            raise InputError(
                f"clip '{path}' is longer than {CLIP_S} s, which is what one clip may be. Split it "
                f"into files of at most {CLIP_S} s."
            )
    return np.concatenate(parts)


@contextmanager
def opened_sound(path: str) -> Iterator[Sound]:
    """A file's sound: by libsndfile if it knows the format, else by FFmpeg.

    Raises:
        InputError: no such file, not audio, or broken.
    """
    import soundfile

    with opened(path) as file, ExitStack() as stack:
        try:
            known = stack.enter_context(soundfile.SoundFile(file))
        except Exception as error:  # what a decoder raises for a broken file is its own affair
            file.seek(0)
            try:
                container = stack.enter_context(open_container(file))
            except Exception as other:
                also = str(other) if isinstance(other, NoExtraError) else ""
                raise InputError(unreadable(path, Media.audio, _why(error), also)) from error
            sound = sound_of(container, path)
        else:
            sound = Sound(
                known.samplerate,
                known.frames / known.samplerate,
                lambda offset_s: _chunks(known, path, offset_s),
            )
        if not _RATES[0] <= sound.rate <= _RATES[1]:
            raise InputError(
                f"clip '{path}' has {sound.rate} samples a second; accepted are {_RATES[0]} to "
                f"{_RATES[1]}. Export it again, with {RATE} for instance."
            )
        try:
            yield sound
        except InputError:
            raise
        except Exception as error:  # as above, of a file that is broken further on
            raise InputError(unreadable(path, Media.audio, _why(error))) from error


def _chunks(file: "SoundFile", path: str, offset_s: float) -> Iterator[F32]:
    """The sound from `offset_s` on, mono, as libsndfile reads it."""
    begin = min(round(offset_s * file.samplerate), file.frames)
    if begin:
        file.seek(begin)
    size = max(1, _VALUES // file.channels)
    place = begin
    while len(samples := file.read(size, dtype="float32", always_2d=True)):
        place += len(samples)
        yield samples[:, 0] if file.channels == 1 else samples.mean(axis=1)
    there, stated = place / file.samplerate, file.frames / file.samplerate
    for said, is_there in _CUT_OFF.findall(file.extra_info):
        if int(is_there) < int(said) < _UNKNOWN_SIZE:
            stated = max(stated, there * int(said) / int(is_there))
    if there < stated - _ROUNDED_S:
        raise InputError(
            f"'{path}' is cut off: its header gives {stated:.1f} s of sound, and there are "
            f"{there:.1f} s. Copy it anew, or convert what is there."
        )


def _first(chunks: Iterator[F32], limit: int, rounded: int) -> Iterator[F32]:
    """Up to `limit` samples; all, if there are no more than `rounded` after them."""
    done, after = 0, np.zeros(0, np.float32)
    for chunk in chunks:
        fits = max(0, limit - done)
        yield chunk[:fits]
        done += len(chunk)
        after = np.concatenate([after, chunk[fits:]])
        if len(after) > rounded:
            return
    yield after


def _why(error: Exception) -> str:
    # libsndfile prefixes its reason with the file, as Python shows it.
    return getattr(error, "error_string", "") or reason(error)


def _too_long(path: str, how_long: str, max_hours: float) -> str:
    return (
        f"clip '{path}' is {how_long}; accepted are {max_hours:g} hours. If it is meant to be, "
        "raise source.max_hours."
    )


def _empty(path: str, offset_s: float, stated_s: float | None) -> str:
    if not offset_s and stated_s is None:
        return f"clip '{path}' holds no samples; a clip is sound. Record it again."
    length = "" if stated_s is None else f", duration={stated_s:g}"
    return (
        f"clip '{path}' holds no samples from offset={offset_s:g}{length} on. Correct what the "
        "manifest says, or take it out for the whole."
    )
