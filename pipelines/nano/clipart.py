"""Open Clip Art of Debian -> icons in the form of an Iconify set, enough for the names asked for.

The clip art is whole SVG documents of the years 2003 to 2006. Each is rendered once, cut to what
it shows, and kept as a picture inside a small SVG; style sheets and sizes need no more care then.
"""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

from pipelines.nano import packages

STYLE = "openclipart"
_SIDE = 192  # pixels of the longer side; twice that of the pictures made of it
_WORKING_SIDE = 480  # pixels; some show little in the middle of a large page

# Pixels a unit. Programs of those years took 90 to an inch.
_UNITS = {"mm": 90 / 25.4, "cm": 90 / 2.54, "in": 90.0, "pt": 1.25, "pc": 15.0, "px": 1.0, "": 1.0}


def fetch_icons(out: Path, names: Sequence[str]) -> dict[str, Any]:
    """The named clip art as what an Iconify set's `icons.json` holds.

    Args:
        out: the folder of the whole recipe.
        names: paths in the collection without `.svg`.
    """
    folder = packages.fetch(
        out,
        packages.Registry.debian,
        "openclipart-svg",
        licence="public domain (CC0)",
        attribution="the contributors of openclipart.org",
        taken="drawings of the 100 concepts, rendered",
    )
    root = folder / "usr/share/openclipart/svg"
    return {"icons": {name: as_icon((root / f"{name}.svg").read_bytes()) for name in names}}


def as_icon(document: bytes) -> dict[str, Any]:
    """What a whole SVG document shows, as one icon: `width`, `height`, `body`."""
    svg = with_view(document.decode("utf-8", "replace"))
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=_WORKING_SIDE))
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    picture.save(small, "PNG")
    width, height = picture.size
    data = base64.b64encode(small.getvalue()).decode()
    body = f'<image width="{width}" height="{height}" xlink:href="data:image/png;base64,{data}"/>'
    return {"width": width, "height": height, "body": body}


def with_view(svg: str) -> str:
    """Give a document without `viewBox` one of its own size: the renderer needs it."""
    head = re.search(r"<svg\b[^>]*>", svg)
    if head is None or "viewBox" in head[0]:
        return svg
    tag, sides = head[0], []
    for key in ("width", "height"):
        found = re.search(rf'\s{key}="\s*([0-9.]+)\s*([a-z]*)\s*"', tag)
        side = float(found[1]) * _UNITS[found[2]] if found else 1000.0
        tag = tag.replace(found[0], "") if found else tag
        sides.append(side)
    width, height = sides
    size = f' width="{width:.2f}" height="{height:.2f}" viewBox="0 0 {width:.2f} {height:.2f}"'
    return svg[: head.start()] + "<svg" + size + tag[len("<svg") :] + svg[head.end() :]
