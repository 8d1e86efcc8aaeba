"""Kinds of files, told by their extension."""

from collections.abc import Collection
from enum import Enum
from pathlib import PurePath

from stages.remote import name_of


class Media(Enum):
    """Kinds of files."""

    audio = "audio"
    image = "image"
    video = "video"  # taken by every job that takes one of the others: see `read_as`


EXTENSIONS = {
    Media.audio: (
        ".wav .flac .mp3 .ogg .oga .opus .aif .aiff .aifc .au .snd .caf .w64 .rf64 "
        ".m4a .aac .wma .mka .amr"
    ),
    Media.image: ".png .jpg .jpeg .jfif .webp .gif .bmp .tif .tiff .ppm .pgm .avif .jp2",
    Media.video: ".mp4 .m4v .mkv .mov .webm .avi .3gp",
}
_KIND = {end: kind for kind, extensions in EXTENSIONS.items() for end in extensions.split()}


def kind_of(path: str | PurePath) -> Media | None:
    """What a file is, by its extension; of a URL that of the file it leads to."""
    return _KIND.get(PurePath(name_of(path) if isinstance(path, str) else path).suffix.lower())


def read_as(kind: Media | None, media: Collection[Media]) -> Media | None:
    """Which of the kinds that a job takes a file is read as.

    Args:
        kind: of the file.
        media: that the job takes, audio and image.

    Returns:
        The kind itself, or None for a file that the job does not take. A video is read as image if
        the job takes pictures, with its sound if the job takes that too, and else as audio.
    """
    if kind is Media.video:
        return next((one for one in (Media.image, Media.audio) if one in media), None)
    return kind if kind in media else None


def accepted(media: Collection[Media]) -> str:
    """The files that a job takes, for its messages."""
    kinds = [kind for kind in Media if read_as(kind, media)]
    return (
        "; ".join(f"{kind.value} ({EXTENSIONS[kind]})" for kind in kinds) or "no files, only text"
    )


def unreadable(path: str, kind: Media, why: str, also: str = "") -> str:
    """What to say of a file whose content is not what it should be.

    Args:
        path: of the file.
        kind: that it was to be read as.
        why: the decoder's reason.
        also: another way to repair it, as a sentence.
    """
    text = (
        f"'{path}' cannot be read as {kind.value}: {why.rstrip('.')}. "
        f"Accepted are {EXTENSIONS[kind]}, each by its content. Repair or convert the file."
    )
    return f"{text} {also}".rstrip()
