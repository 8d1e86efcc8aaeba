"""Kinds of files, told by their extension."""

from collections.abc import Iterable
from enum import Enum
from pathlib import PurePath


class Media(Enum):
    """Kinds of files a job takes."""

    audio = "audio"
    image = "image"


EXTENSIONS = {
    Media.audio: ".wav .flac .mp3 .ogg .oga .opus .aif .aiff .aifc .au .snd .caf .w64 .rf64",
    Media.image: ".png .jpg .jpeg .jfif .webp .gif .bmp .tif .tiff .ppm .pgm .avif .jp2",
}
_KIND = {end: kind for kind, extensions in EXTENSIONS.items() for end in extensions.split()}


def kind_of(path: str | PurePath) -> Media | None:
    """What a file is, by its extension."""
    return _KIND.get(PurePath(path).suffix.lower())


def accepted(media: Iterable[Media]) -> str:
    """The files that a job takes, for its messages."""
    return (
        "; ".join(f"{kind.value} ({EXTENSIONS[kind]})" for kind in media) or "no files, only text"
    )
