"""Files -> waveforms and images."""

import os
import re
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gemma3n.errors import InputError
from stages.media import EXTENSIONS, Media
from stages.model import Load
from stages.row import F32, U8, Columns, Row, Stage
from stages.source import SourceSettings

if TYPE_CHECKING:
    from PIL.Image import Image

RATE = 16_000  # Hz, what the audio tower was trained on
CLIP_S = 30  # seconds that it takes at once
_SHORTER_S = 0.1  # a manifest's duration may be rounded; by more than this it means a part
READ_AS = {Media.audio: "waveforms", Media.image: "images"}  # column of each kind of file


class Read(Stage):
    """Opens the files of each row: every clip and every picture, whatever their formats."""

    settings_type = SourceSettings
    adds = (
        "item",
        "segment",
        "last",
        "place",
        "audio_paths",
        "image_paths",
        "prompt",
        "task",
        "language",
        "turns",
        "reference",
        "extra",
        "offset_s",
        "stated_s",
        "stamp",
        "start_s",
        "end_s",
        "audio_s",
    )
    expands = True

    @classmethod
    def columns(cls, settings: SourceSettings) -> Columns:
        return Columns(adds=(*cls.adds, *(READ_AS[kind] for kind in settings.media)))

    def __init__(self, settings: SourceSettings, load: Load) -> None:
        self.media = settings.media

    def __call__(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            waveforms = [read_audio(Path(path)) for path in row["audio_paths"]]
            images = [read_image(Path(path)) for path in row["image_paths"]]
            row["audio_s"] = sum(len(waveform) for waveform in waveforms) / RATE
            _check_stated(row)
            # Times say where in a file a segment is; several files have no time in common.
            is_clip = len(waveforms) == 1 and not images
            row["start_s"], row["end_s"] = (0.0, row["audio_s"]) if is_clip else (None, None)
            if Media.audio in self.media:
                row["waveforms"] = waveforms
            if Media.image in self.media:
                row["images"] = images
        return rows


def read_audio(path: Path) -> F32:
    """Read one clip, of any rate and number of channels.

    Returns:
        [samples], mono, 16 kHz, -1..1

    Raises:
        InputError: no such file, not audio, broken, empty, or longer than 30 s.
    """
    import soundfile
    import soxr

    _check_file(path)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # a name need not be UTF-8
            rate = file.samplerate
            # One more than fits: a header may say anything, so what is read is what counts.
            samples = file.read(CLIP_S * rate + 1, dtype="float32", always_2d=True)
            seconds = max(file.frames, len(samples)) / rate
    except Exception as error:  # what a decoder raises for a broken file is its own affair
        # libsndfile prefixes its reason with the file name, as bytes.
        what = getattr(error, "error_string", "") or _reason(error)
        raise InputError(_broken(path, Media.audio, what)) from error
    if len(samples) > CLIP_S * rate:
        raise InputError(
            f"clip '{path}' is {seconds:.1f} s; one clip may be {CLIP_S} s. "
            f"Split it into files of at most {CLIP_S} s."
        )
    if len(samples) == 0:
        raise InputError(f"clip '{path}' holds no samples; a clip is sound. Record it again.")
    mono: F32 = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise InputError(
            f"clip '{path}' holds samples that are no numbers (NaN or infinite); they should be "
            "-1..1. Export it again, as 16-bit samples for instance."
        )
    resampled: F32 = soxr.resample(mono, rate, RATE)
    return resampled


def read_image(path: Path) -> U8:
    """Read one picture: upright as its EXIF says, the first frame, on white where transparent.

    Returns:
        [height, width, 3], RGB

    Raises:
        InputError: no such file, not a picture, broken, or too many pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _check_file(path)
    Image.init()
    # EPS is no picture but a program, which Pillow hands to Ghostscript to be run.
    formats = [name for name in Image.OPEN if name != "EPS"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=formats)
        with opened:
            _check_depth(opened, path)
            return np.asarray(_rgb(ImageOps.exif_transpose(opened)))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        # Pillow names twice the limit where the picture is past that.
        pixels = next(iter(re.findall(r"\d+", str(error))), "too many")
        raise InputError(
            f"picture '{path}' has {pixels} pixels; it may have {Image.MAX_IMAGE_PIXELS}. "
            "Scale it down."
        ) from error
    except UnidentifiedImageError as error:  # whose own text repeats the path
        raise InputError(_broken(path, Media.image, "its content is no known format")) from error
    except InputError:
        raise
    except Exception as error:  # what a decoder raises for a broken file is its own affair
        raise InputError(_broken(path, Media.image, _reason(error))) from error


def _check_stated(row: Row) -> None:
    stated = row["stated_s"]
    if stated is not None and 0 <= stated < row["audio_s"] - _SHORTER_S:
        raise InputError(
            f"the manifest gives '{row['audio_paths'][0]}' duration={stated:g}, but the file is "
            f"{row['audio_s']:.1f} s; whole files only, for now. Cut the clip out into a file of "
            "its own, or take the duration out for the whole."
        )


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be opened: {error.strerror}. Correct the path, or leave it out."
        ) from error
    if not stat.S_ISREG(found.st_mode):  # a pipe, for one, would be waited for without end
        raise InputError(f"'{path}' is not a file. Correct the path, or leave it out.")
    if found.st_size == 0:
        raise InputError(f"'{path}' is empty, 0 bytes. Copy it anew, or leave it out.")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _broken(path: Path, kind: Media, what: str) -> str:
    return (
        f"'{path}' cannot be read as {kind.value}: {what.rstrip('.')}. "
        f"Accepted are {EXTENSIONS[kind]}, each by its content. Repair or convert the file."
    )


def _check_depth(image: "Image", path: Path) -> None:
    """Refuse pixels whose scale is not known: where white is, no file says."""
    sixteen = image.mode.startswith("I;16") or (
        # Pillow has these in 32 bits, on the scale of 16.
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    if image.mode.startswith(("I", "F")) and not sixteen:
        raise InputError(
            f"picture '{path}' has pixels of mode '{image.mode}' (32 bits, or with a sign), of no "
            "known scale; accepted are 8 and 16 bits a channel. Scale it to one of them."
        )


def _rgb(image: "Image") -> "Image":
    from PIL.Image import fromarray, new

    if image.mode.startswith("I"):  # 16-bit grey, which convert() would cut off at 255
        image = fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        page = new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        image = page
    return image.convert("RGB")
