"""A film -> pictures at a rate, few enough to be shown together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemma3n.errors import InputError, reason
from stages.container import length_s, open_container, start_s, what_else
from stages.media import Media, unreadable
from stages.opened import opened

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Image

_ROUNDED_S = 0.001  # times of films are rounded
_SIDE = 768  # pixels that the shorter side is brought down to: the largest that a model looks at


@dataclass(frozen=True)
class Film:
    """Pictures of a film."""

    times_s: list[float]  # of each picture
    images: list["Image"]  # each RGB
    wanted: int  # as many pictures there would be at the rate that was asked for


def read_film(path: str, fps: float, at_most: int) -> Film:
    """Take pictures from a film, evenly.

    Args:
        path: as `opened` takes it.
        fps: pictures a second, if that makes no more than `at_most`.
        at_most: pictures in all; of a longer film they are further apart.

    Raises:
        InputError: no such file, no film, broken, or without pictures.
    """
    with _film(path) as container:
        stream = next((one for one in container.streams.video if not _is_cover(one)), None)
        if stream is None:
            raise InputError(
                f"'{path}' has no pictures{what_else(container)}. Leave it out, or give it "
                "to a job that takes sound."
            )
        stream.thread_type = "AUTO"
        thinned, begin = _Thinned(fps, at_most, length_s(container)), start_s(container)
        for number, frame in enumerate(container.decode(stream)):
            thinned.see(number / fps if frame.time is None else frame.time - begin, frame)
    if not thinned.images:
        raise InputError(
            f"'{path}' has no frames: its header tells of pictures, but none is there. Copy it "
            "anew, or leave it out."
        )
    return Film(thinned.times_s, thinned.images, thinned.wanted)


def has_sound(path: str) -> bool:
    """Whether there is sound with the pictures of a film.

    Raises:
        InputError: no such file, no film, or broken.
    """
    with _film(path) as container:
        return bool(container.streams.audio)


@contextmanager
def _film(path: str) -> "Iterator[InputContainer]":
    try:
        with opened(path) as file, open_container(file) as container:
            yield container
    except InputError:
        raise
    except Exception as error:  # what a decoder raises for a broken file is its own affair
        raise InputError(unreadable(path, Media.video, reason(error))) from error


class _Thinned:
    """Pictures of a film as it goes by, evenly, in memory that does not grow with its length."""

    def __init__(self, fps: float, at_most: int, length: float | None) -> None:
        self.times_s: list[float] = []
        self.images: list[Image] = []
        self.wanted = 0
        self._fps, self._at_most = fps, at_most
        self._step = max(1 / fps, (length or 0.0) / at_most)
        self._next = 0.0

    def see(self, time_s: float, frame: "VideoFrame") -> None:
        """Take a picture if it is time for one."""
        self.wanted = max(self.wanted, int(time_s * self._fps + _ROUNDED_S) + 1)
        if time_s < self._next - _ROUNDED_S:
            return
        if len(self.images) == self._at_most:  # longer than its header said
            self.times_s, self.images = self.times_s[::2], self.images[::2]
            self._step *= 2
            if time_s < self.times_s[-1] + self._step - _ROUNDED_S:
                return
        self.times_s.append(time_s)
        self.images.append(_upright(frame))
        self._next = (int((time_s + _ROUNDED_S) / self._step) + 1) * self._step


def _upright(frame: "VideoFrame") -> "Image":
    """A frame in RGB, turned as the film says."""
    from PIL.Image import fromarray

    scale = min(1.0, _SIDE / min(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    return fromarray(pixels).rotate(frame.rotation, expand=True)


def _is_cover(stream: "VideoStream") -> bool:
    """Whether it is the picture on the cover of a recording."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)
