"""Files of a row -> small copies that a page carries: clips as sound, pictures as thumbnails."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gemma3n.errors import InputError
from pipelines.report.survey import Shown
from pipelines.report.wording import duration
from pipelines.settings import EmbedSettings
from stages.audio import RATE, sound_blocks
from stages.media import Media, kind_of
from stages.picture import read_image
from stages.remote import is_url
from stages.row import F32, Row

_PICTURES = 3  # of one row
# Formats of sound, the first that is there: every browser plays the first and the last.
_SOUND = (("MP3", "MPEG_LAYER_III", "audio/mpeg"), ("WAV", "PCM_16", "audio/wav"))
_QUALITY = 75  # of WebP
_FULL = "left out: the clips and pictures of this page are as many as it may carry"


@dataclass(frozen=True)
class Embedded:
    """A clip or a picture."""

    kind: str  # audio or image
    uri: str
    note: str = ""  # what of the file it is, if it is not all
    width: int = 0
    height: int = 0


class Embedder:
    """Copies until the page is full."""

    def __init__(self, settings: EmbedSettings) -> None:
        self.settings = settings
        self.left = self._spare = 0  # bytes: of this run, and for those after it
        self._spare = self.most = round(settings.max_mb * 1e6)
        self.count = self.refused = 0
        self._is_full = False

    @property
    def is_on(self) -> bool:
        """Whether anything is to be embedded at all."""
        most = max(self.settings.clip_s, self.settings.picture_px)
        return most > 0 and self.settings.max_mb > 0

    @property
    def used_bytes(self) -> int:
        """What was embedded so far."""
        return self.most - self.left - self._spare

    def may_use(self, share: float) -> None:
        """Begin another run, which may use a share of what is left."""
        self._spare, self._is_full = self._spare + self.left, False
        self.left = round(self._spare * share)
        self._spare -= self.left

    def of(self, row: Shown, listed: Row | str | None) -> list[Embedded | str]:
        """The clip and the pictures of a row, or why there is none.

        Args:
            row: that is shown.
            listed: as its source lists it now, or why it does not.
        """
        if listed is None:
            return []
        if isinstance(listed, str):
            return [listed]
        return [self._fitting(one) for one in self._made(row, listed)]

    def _made(self, row: Shown, listed: Row) -> Iterator[Embedded | str]:
        clips = listed["audio_paths"] if self.settings.clip_s else []
        pictures = listed["image_paths"] if self.settings.picture_px else []
        if self._is_full and (clips or pictures):
            yield _FULL
            return
        for path in clips[:1]:
            yield self._safely(path, lambda path: self._clip(path, row, listed))
        for path in pictures[:_PICTURES]:
            yield self._safely(path, self._picture)
        if more := len(clips[1:]) + len(pictures[_PICTURES:]):
            yield f"{more} more files are not shown."

    def _safely(self, path: str, make: Callable[[str], Embedded]) -> Embedded | str:
        if is_url(path):
            return "Its file is at a URL, which a report does not fetch."
        try:
            return make(path)
        except (InputError, OSError, ValueError):
            return "Its file is gone, or cannot be read any more."

    def _fitting(self, made: Embedded | str) -> Embedded | str:
        if isinstance(made, str):
            self.refused += made == _FULL
            return made
        if len(made.uri) > self.left:
            # Smaller ones might still fit, but to find out each would have to be made.
            self.refused, self._is_full = self.refused + 1, True
            return _FULL
        self.left -= len(made.uri)
        self.count += 1
        return made

    def _clip(self, path: str, row: Shown, listed: Row) -> Embedded:
        # Times of a segment count from the start of its file; a part of one begins at its offset.
        start = row.start_s if row.start_s is not None else listed["offset_s"] or 0.0
        length = listed["stated_s"] if row.end_s is None else row.end_s - start
        seconds = self.settings.clip_s if length is None else min(length, self.settings.clip_s)
        sound = _sound(path, start, seconds)
        there = len(sound) / RATE
        # Of an unknown length, what fills the room may go on.
        is_cut = there >= self.settings.clip_s if length is None else length > there + 0.1
        note = f"first {duration(there)}" if is_cut else ""
        if length is not None and is_cut:
            note += f" of {duration(length)}"
        content, kind = _encoded(sound)
        return Embedded("audio", _uri(kind, content), note)

    def _picture(self, path: str) -> Embedded:
        if kind_of(path) is Media.video:
            from stages.video import read_film

            image = read_film(path, fps=1.0, at_most=1).images[0]
            note = "first frame"
        else:
            image, note = read_image(path), ""
        image.thumbnail((self.settings.picture_px, self.settings.picture_px))
        kept = io.BytesIO()
        image.save(kept, "WEBP", quality=_QUALITY)
        return Embedded("image", _uri("image/webp", kept.getvalue()), note, *image.size)


def _sound(path: str, start_s: float, seconds: float) -> F32:
    """So much of a file's sound: [samples], mono, 16 kHz."""
    most, parts, there = round(seconds * RATE), [], 0
    for block in sound_blocks(path, start_s):
        parts.append(block[: most - there])
        there += len(parts[-1])
        if there >= most:
            break
    return np.concatenate(parts)


def _encoded(sound: F32) -> tuple[bytes, str]:
    """A file of the sound, and its type."""
    import soundfile

    there = soundfile.available_formats()
    name, subtype, kind = next(one for one in _SOUND if one[0] in there)
    kept = io.BytesIO()
    soundfile.write(kept, np.clip(sound, -1, 1), RATE, format=name, subtype=subtype)
    return kept.getvalue(), kind


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
