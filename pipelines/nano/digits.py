"""Handwritten digits of scikit-learn -> pictures with the look of the samples, and others.

The samples are rows of `load_digits`, 8 x 8 inks enlarged to 128 x 128 with bicubic weights.
"""

import gzip
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pipelines.nano import packages
from pipelines.nano.scene import roughen_array

SIDE = 128  # pixels, as the samples have
_INKS = 16  # what the darkest pixel of the data set says

Inks = npt.NDArray[np.uint8]  # [8, 8], 0 is paper, 16 is black


def fetch_digits(out: Path) -> list[tuple[Inks, int]]:
    """Every row of `load_digits`, in its order: inks and the digit.

    Args:
        out: the folder of the whole recipe.
    """
    folder = packages.fetch(
        out,
        packages.Registry.pypi,
        "scikit-learn",
        licence="CC-BY-4.0 (the digits; the package itself is BSD-3-Clause)",
        attribution="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI",
        taken="load_digits, rows below 1400, enlarged",
    )
    with gzip.open(folder / "sklearn/datasets/data/digits.csv.gz", "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)  # [rows, 65]
    return [(row[:-1].reshape(8, 8), int(row[-1])) for row in table]


def plain_digit(inks: Inks) -> Image.Image:
    """A digit exactly as the samples show it.

    Returns:
        RGB, 128 x 128, black on white.
    """
    paper = 255 - (inks.astype(np.float32) * (255 / _INKS)).astype(np.uint8)
    return Image.fromarray(paper).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def vary_digit(inks: Inks, rng: random.Random) -> Image.Image:
    """A digit moved, turned, thicker or thinner, in other colours, or with noise.

    Returns:
        RGB, 128 x 128.
    """
    ink = Image.fromarray((inks.astype(np.float32) * (255 / _INKS)).astype(np.uint8))
    ink = ink.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ink = ink.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, _affine(rng), Image.Resampling.BILINEAR
    )
    pen = rng.random()
    if pen < 0.12:
        ink = ink.filter(ImageFilter.MaxFilter(rng.choice((5, 9))))
    elif pen < 0.24:
        ink = ink.filter(ImageFilter.MinFilter(rng.choice((5, 7))))
    elif pen < 0.36:
        ink = ink.filter(ImageFilter.GaussianBlur(rng.uniform(1, 4)))
    contrast = rng.uniform(0.8, 3.0) if rng.random() < 0.4 else 1.0  # high: as if cut out
    ink = ink.point([round(255 * _press(step / 255, contrast)) for step in range(256)])
    picture = Image.composite(*_colours(rng), ink)
    if rng.random() < 0.2:
        picture = Image.fromarray(roughen_array(np.asarray(picture), rng, rng.uniform(3, 16)))
    return picture


def _affine(rng: random.Random) -> tuple[float, float, float, float, float, float]:
    """Where each pixel of the result comes from: a b c, d e f of x' = a x + b y + c."""
    turn, slant = np.deg2rad(rng.gauss(0, 5)), rng.gauss(0, 0.08)
    wide, high = rng.uniform(0.85, 1.25), rng.uniform(0.95, 1.25)
    a, b = wide * np.cos(turn), wide * (np.sin(turn) + slant)
    d, e = -high * np.sin(turn), high * np.cos(turn)
    centre = SIDE / 2
    x = centre - (a + b) * centre + rng.gauss(0, 4)
    y = centre - (d + e) * centre + rng.gauss(0, 4)
    return float(a), float(b), float(x), float(d), float(e), float(y)


def _press(ink: float, contrast: float) -> float:
    return min(1.0, max(0.0, (ink - 0.5) * contrast + 0.5))


def _colours(rng: random.Random) -> tuple[Image.Image, Image.Image]:
    """Pen and paper: mostly black on white, else inverted or tinted."""
    kind = rng.random()
    dark = (0, 0, 0) if kind < 0.75 else tuple(rng.randint(0, 110) for _ in range(3))
    light = (255, 255, 255) if kind < 0.75 else tuple(rng.randint(170, 255) for _ in range(3))
    pen, paper = (light, dark) if kind < 0.12 or kind > 0.95 else (dark, light)
    return Image.new("RGB", (SIDE, SIDE), pen), Image.new("RGB", (SIDE, SIDE), paper)
