"""A file -> one picture."""

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from gemma3n.errors import InputError, reason
from stages.media import Media, unreadable
from stages.opened import opened

if TYPE_CHECKING:
    from PIL.Image import Image


def read_image(path: str) -> "Image":
    """Read one picture: upright as its EXIF says, the first frame, on white where transparent.

    Args:
        path: as `opened` takes it.

    Returns:
        RGB; its pixels are in memory, its file is closed.

    Raises:
        InputError: no such file, not a picture, broken, or too many pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with opened(path) as file, Image.open(file, formats=_formats()) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise InputError(_too_large(path, image.width * image.height))
            _check_depth(image, path)
            ImageOps.exif_transpose(image, in_place=True)
            image.load()  # what is RGB already would be read when its pixels are asked for
            return _rgb(image)
    except Image.DecompressionBombError as error:
        pixels = next(iter(re.findall(r"\d+", str(error))), "too many")
        raise InputError(_too_large(path, pixels)) from error
    except UnidentifiedImageError as error:  # whose own text repeats the path
        why = "its content is no known format"
        raise InputError(unreadable(path, Media.image, why)) from error
    except InputError:
        raise
    except Exception as error:  # what a decoder raises for a broken file is its own affair
        raise InputError(unreadable(path, Media.image, reason(error))) from error


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    """Formats of pictures."""
    from PIL import Image

    # Once, for all threads: what it warns of is refused here.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    Image.init()
    # EPS is no picture but a program, which Pillow hands to Ghostscript to be run.
    return [name for name in Image.OPEN if name != "EPS"]


def _too_large(path: str, pixels: int | str) -> str:
    from PIL import Image

    # Pillow names twice its limit, which is where it refuses by itself.
    return (
        f"picture '{path}' has {pixels} pixels; it may have {Image.MAX_IMAGE_PIXELS}. "
        "Scale it down."
    )


def _check_depth(image: "Image", path: str) -> None:
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
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
