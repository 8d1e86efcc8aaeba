from collections.abc import Callable

import numpy as np
import pytest

from pipelines.nano.clips import rng_of
from pipelines.nano.icons import Drawing
from pipelines.nano.scene import compose, plain

Disc = Callable[..., Drawing]


def test_a_plain_picture_is_the_drawing_on_white(disc: Disc) -> None:
    picture = plain(disc(fill="#0000ff"), 32)
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert picture.getpixel((16, 16)) == (0, 0, 255)


def test_a_picture_depends_on_its_random_numbers_only(disc: Disc) -> None:
    drawing = disc()
    first, again, other = (compose(drawing, rng_of(name), 32) for name in ("a", "a", "b"))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert (first.mode, first.size) == ("RGB", (32, 32))


@pytest.mark.parametrize("fill", ["currentColor", "#808080"])
def test_the_thing_can_always_be_seen(disc: Disc, fill: str) -> None:
    drawing = disc("mdi" if fill == "currentColor" else "noto", fill=fill)
    for number in range(40):
        pixels = np.asarray(compose(drawing, rng_of(f"{fill} {number}"), 32)).astype(int)
        assert pixels.std(axis=(0, 1)).max() > 5


def test_the_red_apple_stays_red(disc: Disc) -> None:
    drawn = disc("noto", concept="red apple", fill="#dd2020")
    blank = disc("mdi", concept="red apple", fill="currentColor")
    for number in range(40):
        for apple in (drawn, blank):
            pixels = np.asarray(compose(apple, rng_of(f"apple {number}"), 48)).astype(int)
            red, green, blue = np.median(pixels[16:32, 16:32].reshape(-1, 3), axis=0)
            assert red > green
            assert red > blue
