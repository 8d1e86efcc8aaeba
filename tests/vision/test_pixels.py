import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from gemma3n.errors import InputError, SettingsError
from gemma3n.vision.pixels import RESOLUTIONS, image_pixels

PIXEL_STRIDE = 2  # of the processed images that the golden copy keeps


@pytest.mark.parametrize("name", ["small", "big"])
def test_an_image_becomes_the_pixels_of_the_reference(
    golden: Callable[[str], dict[str, Tensor]], name: str
) -> None:
    arrays = golden("image_processor")
    image = Image.fromarray(arrays[f"{name}_src_u8"].permute(1, 2, 0).numpy())
    expected = arrays[f"{name}_out_u8"].numpy().astype(int)
    pixels = image_pixels(image)
    assert pixels.shape == (3, 768, 768)
    off = np.abs(pixels[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE] - expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_pixels_are_contiguous_bytes_of_the_size_asked_for(size: int) -> None:
    pixels = image_pixels(Image.new("RGB", (30, 7), (1, 2, 3)), size)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(
        pixels, np.broadcast_to(np.array([1, 2, 3])[:, None, None], (3, size, size))
    )


def test_the_left_of_an_image_stays_left_and_the_top_stays_on_top() -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (0, 0, 20, 10))  # left, top, right, bottom
    red = image_pixels(image, 256)[0]
    assert red[10, 10] == 255
    assert red[10, 246] == red[246, 10] == 0


@pytest.mark.parametrize(
    ("mode", "colour", "rgb"),
    [
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (9, 8, 7, 0), (9, 8, 7)),  # transparent
        ("CMYK", (0, 255, 0, 0), (255, 0, 255)),
    ],
)
def test_every_mode_becomes_rgb_and_alpha_is_dropped(
    mode: str, colour: int | tuple[int, ...], rgb: tuple[int, int, int]
) -> None:
    assert tuple(image_pixels(Image.new(mode, (5, 3), colour), 256)[:, 0, 0]) == rgb


@pytest.mark.parametrize("size", [0, 224, 769])
def test_another_resolution_is_refused(size: int) -> None:
    with pytest.raises(SettingsError, match=f"resolution={size}; accepted are 256, 512, 768"):
        image_pixels(Image.new("RGB", (4, 4)), size)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match=r"is 0 x 5 pixels; at least 1 x 1 .* Replace the file"):
        image_pixels(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_deeper_pixels_are_refused_rather_than_cut_off(mode: str) -> None:
    with pytest.raises(InputError, match=rf"mode '{mode}', .* accepted are 8 bits .* Scale it"):
        image_pixels(Image.new(mode, (4, 4)))


def test_pixels_are_made_without_torch() -> None:
    check = "import sys, gemma3n.vision.pixels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
