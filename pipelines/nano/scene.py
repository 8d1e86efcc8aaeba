"""A drawing -> a picture: posed, repainted, laid on a ground, roughened."""

import colorsys
import io
import random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from pipelines.nano.icons import Drawing, Paint, Pose, render

Colour = tuple[int, int, int]  # red, green, blue, 0..255
_RED = (214, 40, 40)


def plain(drawing: Drawing, side: int) -> Image.Image:
    """The drawing as its artist made it, on white, filling the picture: the look of the samples.

    Returns:
        RGB, side x side.
    """
    return _on(_flat((255, 255, 255), side), render(drawing, side, Pose(), _hex(_ink(drawing))))


def compose(drawing: Drawing, rng: random.Random, side: int) -> Image.Image:
    """A picture of the drawing in which nearly everything varies but the thing shown.

    Args:
        drawing: what to show.
        rng: where all randomness comes from.
        side: pixels.

    Returns:
        RGB, side x side.
    """
    ground = _ground(rng, side)
    behind = ground.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(behind, tuple)
    colour = _far_from(behind, drawing, rng)
    thing = render(drawing, side, _pose(rng), _hex(colour))
    if drawing.paint is not Paint.blank:
        thing = _repaint(thing, drawing, rng)
    edge = rng.random()
    if edge < 0.08:  # a sticker's rim, or an outline
        thing = _rim(thing, rng.choice((3, 3, 5)), rng.choice(((255, 255, 255), (0, 0, 0))))
    elif edge < 0.16:
        ground = _shadow(ground, thing, rng)
    return _roughen(_on(ground, thing), rng)


def roughen_array(
    pixels: npt.NDArray[np.uint8], rng: random.Random, deviation: float
) -> npt.NDArray[np.uint8]:
    """Add Gaussian noise.

    Args:
        pixels: any shape, 0..255.
        rng: where the noise comes from.
        deviation: of the noise, in steps of 0..255.
    """
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, deviation, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def _pose(rng: random.Random) -> Pose:
    scale = rng.uniform(0.92, 1.05) if rng.random() < 0.4 else rng.uniform(0.6, 1.0)
    free = abs(1 - scale) / 2 + 0.02
    return Pose(
        scale=scale,
        turn=rng.uniform(-15, 15) if rng.random() < 0.6 else 0,
        slant=rng.uniform(-10, 10) if rng.random() < 0.3 else 0,
        across=rng.uniform(-free, free),
        down=rng.uniform(-free, free),
        mirror=rng.random() < 0.5,
    )


def _ink(drawing: Drawing) -> Colour:
    """Colour of a drawing that brings none; the one thing named by its colour has to have it."""
    return _RED if drawing.concept.startswith("red ") else (51, 51, 51)


def _far_from(behind: tuple[float, ...], drawing: Drawing, rng: random.Random) -> Colour:
    """A colour that shows on what is behind it."""
    while True:
        colour = _colour(rng)
        if drawing.concept.startswith("red "):
            strength, value = rng.uniform(0.5, 0.95), rng.uniform(0.45, 1)
            red, green, blue = colorsys.hsv_to_rgb(rng.uniform(-0.02, 0.02), strength, value)
            colour = (int(red * 255), int(green * 255), int(blue * 255))
        if abs(_light(colour) - _light(behind)) > 45:
            return colour


def _light(colour: tuple[float, ...]) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _colour(rng: random.Random) -> Colour:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _ground(rng: random.Random, side: int) -> Image.Image:
    """White as often as not; else flat, a gradient, stripes, or blotches."""
    kind = rng.random()
    if kind < 0.45:
        return _flat((255, 255, 255), side)
    first = _pale(rng) if rng.random() < 0.6 else _colour(rng)
    second = _pale(rng) if rng.random() < 0.6 else _colour(rng)
    if kind < 0.65:
        return _flat(first, side)
    if kind < 0.8:
        turn = rng.uniform(0, 360)
        share = Image.linear_gradient("L").rotate(turn, Image.Resampling.BILINEAR)
        share = share.crop((64, 64, 192, 192)).resize((side, side))
    elif kind < 0.87:
        period, turned = rng.randint(4, 24), rng.random() < 0.5
        steps = (np.arange(side) // period % 2 * 255).astype(np.uint8)
        stripes = np.broadcast_to(steps, (side, side))
        share = Image.fromarray(stripes.T.copy() if turned else stripes.copy())
    else:
        cells = rng.choice((3, 5, 8, 16, 32))
        blotches = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (cells, cells))
        share = Image.fromarray(blotches.astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
    return Image.composite(_flat(first, side), _flat(second, side), share)


def _pale(rng: random.Random) -> Colour:
    return rng.randint(190, 255), rng.randint(190, 255), rng.randint(190, 255)


def _flat(colour: Colour, side: int) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def _on(ground: Image.Image, thing: Image.Image) -> Image.Image:
    return Image.alpha_composite(ground.convert("RGBA"), thing).convert("RGB")


def _repaint(thing: Image.Image, drawing: Drawing, rng: random.Random) -> Image.Image:
    """Turn the hues a little (fully where the colours mean nothing), and change their strength."""
    red = drawing.concept.startswith("red ")
    if drawing.paint is Paint.tinted:
        hue = rng.uniform(-0.5, 0.5)
    else:
        hue = rng.gauss(0, 0.01 if red else 0.04)
    alpha = thing.getchannel("A")
    if not red and rng.random() < 0.05:
        return Image.merge("RGBA", [*thing.convert("L").convert("RGB").split(), alpha])
    hues, strengths, values = thing.convert("RGB").convert("HSV").split()
    hues = hues.point([int(step + hue * 256) % 256 for step in range(256)])
    strength = rng.uniform(0.7 if red else 0.5, 1.4)
    strengths = strengths.point([min(255, int(step * strength)) for step in range(256)])
    value, lift = rng.uniform(0.7, 1.15), rng.uniform(0, 30) * (rng.random() < 0.3)
    values = values.point([min(255, int(step * value + lift)) for step in range(256)])
    painted = Image.merge("HSV", (hues, strengths, values)).convert("RGB")
    return Image.merge("RGBA", [*painted.split(), alpha])


def _rim(thing: Image.Image, width: int, colour: Colour) -> Image.Image:
    alpha = thing.getchannel("A")
    rim = Image.new("RGBA", thing.size, (*colour, 255))
    rim.putalpha(alpha.filter(ImageFilter.MaxFilter(width)))
    return Image.alpha_composite(rim, thing)


def _shadow(ground: Image.Image, thing: Image.Image, rng: random.Random) -> Image.Image:
    alpha = ImageChops.offset(thing.getchannel("A"), rng.randint(-3, 3), rng.randint(1, 4))
    alpha = alpha.filter(ImageFilter.GaussianBlur(2)).point([step // 2 for step in range(256)])
    return Image.composite(_flat((0, 0, 0), ground.width), ground, alpha)


def _roughen(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Blur, noise, and what a JPEG leaves, each now and then."""
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.12:
        picture = Image.fromarray(roughen_array(np.asarray(picture), rng, rng.uniform(3, 12)))
    if rng.random() < 0.12:
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=rng.randint(25, 80))
        picture = Image.open(jpeg).convert("RGB")
    return picture
