from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.nano.clips import rng_of
from pipelines.nano.digits import fetch_digits, plain_digit, vary_digit

INKS = np.zeros((8, 8), np.uint8)
INKS[1:7, 3:5] = 16  # a one


def test_a_plain_digit_is_black_on_white_and_sixteen_times_as_large() -> None:
    pixels = np.asarray(plain_digit(INKS))
    assert pixels.shape == (128, 128, 3)
    assert pixels[64, 64].tolist() == [0, 0, 0]
    assert pixels[64, 8].tolist() == [255, 255, 255]
    assert 50 < pixels[64, 47, 0] < 200  # between ink and paper: enlarged smoothly
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_varied_digits_differ_and_keep_something_to_read() -> None:
    pictures = [vary_digit(INKS, rng_of(str(number))) for number in range(30)]
    assert len({picture.tobytes() for picture in pictures}) == 30
    for picture in pictures:
        assert picture.size == (128, 128)
        assert np.asarray(picture.convert("L")).astype(int).std() > 20


def test_a_varied_digit_depends_on_its_random_numbers_only() -> None:
    assert vary_digit(INKS, rng_of("a")).tobytes() == vary_digit(INKS, rng_of("a")).tobytes()


@pytest.mark.downloads
def test_a_plain_digit_looks_as_the_samples_do(tmp_path: Path) -> None:
    digits = fetch_digits(tmp_path)
    assert len(digits) == 1797
    samples = sorted((Path(__file__).parent.parent / "samples").glob("**/digit-*.png"))
    for sample in samples:
        inks, _ = digits[int(sample.stem.removeprefix("digit-"))]
        shown = np.asarray(Image.open(sample).convert("RGB")).astype(int)
        assert np.abs(np.asarray(plain_digit(inks)) - shown).max() <= 3
