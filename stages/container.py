"""Films, and sound that libsndfile does not know: their streams, by FFmpeg through PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from gemma3n.errors import InputError
from stages.row import F32
from stages.sound import Sound

if TYPE_CHECKING:
    from av.container import InputContainer

# Only formats that are their own content: a playlist or a script of FFmpeg's would have it open
# other files, or the network.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,ogg,mp3,aac,ac3,eac3,amr,amrnb,amrwb,flac,wav,"
    "w64,aiff,au,caf,flv,mpeg,mpegts,mpegvideo,m4v,h264,hevc,wv,ape,tta,tak,dts,rm,3gp,voc,gsm"
)
_SEEKABLE = ("mov", "matroska")  # formats with an index: what is sought in them is found exactly
_SHORTER_S = 1.0  # by more than this a film ends before it says
_GAP_S = 0.1  # sound that is missing for longer is filled with silence, so that times stay true
_BLOCK = 2**16  # samples of such silence at once


class NoExtraError(Exception):
    """FFmpeg is needed, and not installed."""


@contextmanager
def open_container(file: BinaryIO) -> "Iterator[InputContainer]":
    """Open a film, or a sound file as a film without pictures.

    Raises:
        NoExtraError: PyAV is not installed.
        av.FFmpegError: FFmpeg does not know the format, or it is broken.
    """
    try:
        import av
    except ImportError as error:
        raise NoExtraError(
            "Videos, .m4a and the like need PyAV: pip install 'gemma3n-pipelines[video]'."
        ) from error
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
    with av.open(file, "r", options=options, metadata_errors="replace") as container:
        yield container


def sound_of(container: "InputContainer", path: str) -> Sound:
    """The first sound of a film.

    Raises:
        InputError: it has none.
    """
    if not container.streams.audio:
        raise InputError(
            f"'{path}' has no sound{what_else(container)}. Leave it out, or give it "
            "to a job that takes pictures."
        )
    rate = container.streams.audio[0].rate
    return Sound(
        rate, length_s(container), lambda offset_s: _chunks(container, path, rate, offset_s)
    )


def length_s(container: "InputContainer") -> float | None:
    """Seconds of a film, as its header says, if it is of a format that knows."""
    if container.duration is None or not is_indexed(container):
        return None
    return container.duration / 1e6


def is_indexed(container: "InputContainer") -> bool:
    """Whether the film can be entered in its middle, at a time that is exact."""
    return any(name in container.format.name.split(",") for name in _SEEKABLE)


def start_s(container: "InputContainer") -> float:
    """Where a film's own clock begins: its times are counted from there."""
    # Below 0 is what a codec needs to get going, and is not heard.
    return max(0, container.start_time or 0) / 1e6


def _chunks(container: "InputContainer", path: str, rate: int, offset_s: float) -> Iterator[F32]:
    """Its sound from `offset_s` on, mono, silence where there is none for a while."""
    import av

    stream = container.streams.audio[0]
    begin = start_s(container)
    if offset_s and is_indexed(container):
        container.seek(round((offset_s + begin) * 1e6))
    convert = av.AudioResampler(format="fltp", rate=rate)
    wanted = round(offset_s * rate)  # the first sample that is
    place: int | None = None  # of the next sample, in the film
    for frame in container.decode(stream):
        here = place or 0
        if frame.time is not None:
            here = round((frame.time - begin) * rate)
            missing = here - (min(here, wanted) if place is None else place)
            if place is not None and missing < _GAP_S * rate:  # clocks of films are rounded
                here, missing = place, 0
            yield from _silence(missing)
        for converted in convert.resample(frame):
            mono: F32 = np.asarray(converted.to_ndarray(), np.float32).mean(axis=0)
            yield mono[max(0, wanted - here) :]
            here += len(mono)
        place = here
    if (ends := _stated_end(container)) and (place or 0) < (ends - _SHORTER_S) * rate:
        raise InputError(
            f"'{path}' is cut off: its header gives {ends:.1f} s of sound, and there are "
            f"{(place or 0) / rate:.1f} s. Copy it anew, or convert what is there."
        )


def _silence(samples: int) -> Iterator[F32]:
    for start in range(0, samples, _BLOCK):
        yield np.zeros(min(_BLOCK, samples - start), np.float32)


def _stated_end(container: "InputContainer") -> float | None:
    """Where the sound of a film should end, in seconds."""
    stream = container.streams.audio[0]
    if not is_indexed(container):
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return length_s(container) if len(container.streams) == 1 else None


def what_else(container: "InputContainer") -> str:
    """What a film has that lacks something, for messages."""
    kinds = sorted({stream.type for stream in container.streams})
    return f", only {' and '.join(kinds)}" if kinds else ", nor anything else"
