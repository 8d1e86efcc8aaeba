"""All media of one row, in the order of their marks in the prompt."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gemma3n.errors import InputError
from stages.audio import RATE
from stages.media import Media, kind_of
from stages.picture import read_image
from stages.room import Room
from stages.row import F32, Row
from stages.segment import Segment
from stages.source import SourceSettings
from stages.video import has_sound, read_film

if TYPE_CHECKING:
    from PIL.Image import Image


class Together:
    """Reads the media of a row: of a long clip several clips, of a film pictures and clips."""

    def __init__(
        self, settings: SourceSettings, room: Room, heard: Callable[[str], Iterator[Segment]]
    ) -> None:
        """Begin with nothing.

        Args:
            settings: how films are shown.
            room: of the model's context.
            heard: the sound of a file.
        """
        self._settings, self._room, self._heard = settings, room, heard
        self._waveforms: list[F32] = []
        self._images: list[Image] = []
        self._clip_paths: list[str] = []
        self._audio_parts: list[str] = []
        self._image_parts: list[str] = []
        self._notes: list[str] = []
        self._span: tuple[float, float] | None = None  # seconds, of the sound heard last

    def read(self, row: Row) -> Row:
        """The row with its media.

        Raises:
            InputError: one of them cannot be read, or they do not fit in the context.
        """
        paths = [*row["audio_paths"], *row["image_paths"]]
        for path in row["audio_paths"]:
            self._audio_parts.append("a" * len(self._hear(path)))
        films = sum(map(_is_film, row["image_paths"]))
        pictures = len(row["image_paths"]) - films
        for path in row["image_paths"]:
            if _is_film(path):
                self._image_parts.append(self._watch(path, films, pictures))
            else:
                self._images.append(read_image(path))
                self._image_parts.append("i")
        # Times say where in a file a segment is; several files have no time in common.
        start_s, end_s = self._span if self._span and len(paths) == 1 else (None, None)
        made = row | Row(
            start_s=start_s,
            end_s=end_s,
            audio_s=sum(len(waveform) for waveform in self._waveforms) / RATE,
            clip_paths=self._clip_paths,
            audio_parts=self._audio_parts,
            image_parts=self._image_parts,
        )
        if Media.audio in self._settings.media:
            made["waveforms"] = self._waveforms
        if Media.image in self._settings.media:
            made["images"] = self._images
        if self._notes:
            made["note"] = "; ".join(self._notes)
        return made

    def _hear(self, path: str) -> list[float]:
        """Add the sound of a file; the ends of its clips, in seconds of the file."""
        ends: list[float] = []
        for segment in self._heard(path):
            self._waveforms.append(segment.waveform)
            self._clip_paths.append(path)
            self._span = (self._span[0] if ends and self._span else segment.start_s, segment.end_s)
            ends.append(segment.end_s)
            if len(ends) > 1 and self._room.images_beside(len(self._waveforms), 0) < 0:
                raise InputError(
                    f"'{path}' has more sound than fits in one prompt: {ends[-1]:.0f} s of it are "
                    f"more than the context holds. Cut it shorter, or set source.split=true, which "
                    "asks about each segment by itself."
                )
        return ends

    def _watch(self, path: str, films: int, pictures: int) -> str:
        """Add a film; what it is made of, in letters as in `Row.image_parts`."""
        sound = Media.audio in self._settings.media and has_sound(path)
        ends = self._hear(path) if sound else []
        left = self._room.images_beside(len(self._waveforms), pictures) // films
        at_most = min(left, self._settings.max_frames)
        if at_most < 1:
            raise InputError(
                f"no frame of '{path}' fits in the context beside the other media of its row. Give "
                "it a row of its own, or use fewer media."
            )
        film = read_film(path, self._settings.fps, at_most)
        self._images += film.images
        if len(film.images) < film.wanted:
            why = "source.max_frames" if at_most == self._settings.max_frames else "the context"
            self._notes.append(f"{len(film.images)} of {film.wanted} frames, for {why}")
        parts, shown = "", 0
        for end in ends:  # the pictures of a time, then its sound
            until = sum(time < end for time in film.times_s)
            parts += "i" * (until - shown) + "a"
            shown = until
        return parts + "i" * (len(film.images) - shown)


def _is_film(path: str) -> bool:
    return kind_of(path) is Media.video
