"""image -> pixels: the square of RGB bytes that the vision tower reads as 0..1."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from gemma3n.errors import InputError, SettingsError

RESOLUTIONS = (256, 512, 768)  # pixels a side; the released checkpoints were made for the last


def image_pixels(image: Image.Image, size: int = 768) -> npt.NDArray[np.uint8]:
    """Bring an image to RGB and to a square, its aspect ratio not kept.

    The filter is bilinear and widens with the reduction (antialiasing), on bytes. An alpha channel
    is dropped, as in the reference, so a transparent pixel shows the colour stored under it.

    Args:
        image: upright (EXIF orientation applied), of any mode with 8 bits a channel, or bilevel.
        size: pixels a side, one of `RESOLUTIONS`.

    Returns:
        [3, size, size], 0..255; the tower's input is this divided by 255.

    Raises:
        SettingsError: another size.
        InputError: no pixels, or pixels of more than 8 bits a channel.
    """
    if size not in RESOLUTIONS:
        raise SettingsError(
            f"resolution={size}; accepted are {', '.join(map(str, RESOLUTIONS))} pixels a side. "
            "Pick one of them."
        )
    if 0 in image.size:
        raise InputError(
            f"the image is {image.width} x {image.height} pixels; at least 1 x 1 is needed. "
            "Replace the file."
        )
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"the image has Pillow mode '{image.mode}', 16 or 32 bits a pixel, which a conversion "
            "would cut off at 255; accepted are 8 bits a channel. Scale it to 8 bits."
        )
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    square = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.stack([np.asarray(channel) for channel in square.split()])
