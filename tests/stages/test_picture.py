import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gemma3n.errors import InputError
from stages.media import EXTENSIONS, Media
from stages.picture import read_image
from stages.row import U8

SAMPLES = Path(__file__).parents[1] / "samples"


def read_pixels(path: str) -> U8:
    """[height, width, 3]."""
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_a_picture_keeps_its_pixels(tmp_path: Path) -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(image).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "p.png")), image)


@pytest.mark.parametrize("name", EXTENSIONS[Media.image].split())
def test_every_picture_format_is_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"p{name}"
    kind = "JPEG" if name == ".jfif" else None
    Image.new("L" if name == ".pgm" else "RGB", (40, 30), "white").save(file, kind)
    image = read_pixels(str(file))
    assert image.shape == (30, 40, 3)
    assert image.min() > 250


def test_a_picture_is_upright_as_its_exif_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate a quarter clockwise to see it upright
    image.save(tmp_path / "p.png", exif=exif)
    upright = read_pixels(str(tmp_path / "p.png"))
    assert upright.shape == (4, 2, 3)
    assert upright[0, 1].tolist() == [255, 255, 255]


def test_of_a_film_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "p.gif", save_all=True, append_images=frames[1:])
    assert read_pixels(str(tmp_path / "p.gif"))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "p.png"), ("LA", "p.png"), ("P", "p.gif")])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    (image if mode == "P" else image.convert(mode)).save(tmp_path / name)
    assert Image.open(tmp_path / name).mode == mode
    assert read_pixels(str(tmp_path / name))[0].tolist() == [[255, 255, 255], [0, 0, 0]]


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    grey = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    for name in ("p.png", "p.tiff"):
        Image.fromarray(grey).save(tmp_path / name)
        assert read_pixels(str(tmp_path / name))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bits_of_colour_or_of_a_pgm_keep_their_shades(tmp_path: Path) -> None:
    (tmp_path / "p.pgm").write_bytes(b"P5 2 1 65535\n\x80\x00\xff\xff")
    assert read_pixels(str(tmp_path / "p.pgm"))[0, :, 0].tolist() == [128, 255]
    (tmp_path / "p.pgm").write_bytes(b"P5 2 1 1000\n\x01\xf4\x03\xe8")
    assert read_pixels(str(tmp_path / "p.pgm"))[0, :, 0].tolist() == [128, 255]
    (tmp_path / "p.ppm").write_bytes(b"P6 1 1 65535\n\x80\x00\xff\xff\x00\x00")
    assert read_pixels(str(tmp_path / "p.ppm"))[0, 0].tolist() == [128, 255, 0]


@pytest.mark.parametrize("kind", [np.int32, np.float32, np.int16])
def test_pixels_of_no_known_scale_are_refused(tmp_path: Path, kind: Any) -> None:
    if kind is np.int16:  # which Pillow reads, but cannot write
        Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "p.tif", tiffinfo={339: 2})
    else:
        Image.fromarray(np.zeros((2, 3), kind)).save(tmp_path / "p.tif")
    with pytest.raises(InputError, match=r"p.tif' has pixels of mode '[IF]' .*accepted are 8 and"):
        read_pixels(str(tmp_path / "p.tif"))


def test_a_picture_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_text("a text file")
    with pytest.raises(InputError, match=r"image: its content is no known format\. Accepted are "):
        read_pixels(str(tmp_path / "p.png"))


def test_a_picture_that_is_cut_off_says_so(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "p.png")
    file = tmp_path / "p.png"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read as image"):
        read_pixels(str(file))


@pytest.mark.parametrize("pixels", [50, 150])  # Pillow warns of more, and refuses twice as many
def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    Image.new("L", (10, 20)).save(tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(InputError, match=rf"p.png' has 200 pixels; it may have {pixels}\. Scale"):
        read_pixels(str(tmp_path / "p.png"))


def test_a_program_in_a_pictures_clothes_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(InputError, match="no known format"):
        read_pixels(str(tmp_path / "p.png"))


@pytest.mark.parametrize("size", [(1, 1), (30_000, 10), (10, 30_000)])
def test_a_picture_of_any_shape_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "p.png")
    assert read_pixels(str(tmp_path / "p.png")).shape == (size[1], size[0], 3)


def test_a_picture_in_the_colours_of_a_printer_is_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "p.jpg")
    red, green, blue = read_pixels(str(tmp_path / "p.jpg"))[4, 4]
    assert red > 200
    assert max(green, blue) < 60


def test_a_picture_whose_name_is_no_text_is_opened(tmp_path: Path) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Image.new("RGB", (2, 3)).save(tmp_path / "p.png")
    (tmp_path / "p.png").rename(file)
    assert read_pixels(file).shape == (3, 2, 3)


def test_every_sample_is_read() -> None:
    for file in sorted(SAMPLES.rglob("*.png")):
        assert read_pixels(str(file)).shape[2] == 3
