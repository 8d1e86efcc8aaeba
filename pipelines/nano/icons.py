"""Icon sets of many artists -> drawings of the 100 concepts, rendered in any pose and paint.

A set is an npm package in the Iconify format: `icons.json` has each icon's SVG without its outer
element. Open Clip Art (`clipart.py`) is brought into the same form. `icons.tsv` says which icons
show which concept; every one was looked at.
"""

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

from pipelines.nano import clipart, packages
from pipelines.nano.sentences import concepts
from pipelines.nano.split import Split, icon_style

ICON_LIST = Path(__file__).parent / "icons.tsv"  # concept, sets, names


class Paint(Enum):
    """What colours a set has of its own."""

    natural = "natural"  # those of the things themselves
    tinted = "tinted"  # a palette of its own, the same for all things
    blank = "blank"  # none: drawn in the colour one asks for


@dataclass(frozen=True)
class IconSet:
    version: str  # of the npm package; `icons.tsv` was looked at with this one
    paint: Paint
    licence: str
    artist: str


SETS = {
    "noto": IconSet("1.2.9", Paint.natural, "Apache-2.0", "Google"),
    "noto-v1": IconSet("1.2.5", Paint.natural, "Apache-2.0", "Google"),
    "twemoji": IconSet("1.2.5", Paint.natural, "CC-BY-4.0", "Twitter and contributors"),
    "openmoji": IconSet("1.2.29", Paint.natural, "CC-BY-SA-4.0", "OpenMoji"),
    "fxemoji": IconSet("1.2.2", Paint.natural, "Apache-2.0", "Mozilla"),
    "streamline-emojis": IconSet("1.2.4", Paint.natural, "CC-BY-4.0", "Streamline"),
    "streamline-kameleon-color": IconSet("1.2.2", Paint.tinted, "CC-BY-4.0", "Streamline"),
    "streamline-plump-color": IconSet("1.2.2", Paint.tinted, "CC-BY-4.0", "Streamline"),
    "streamline-ultimate-color": IconSet("1.2.2", Paint.tinted, "CC-BY-4.0", "Streamline"),
    "icon-park": IconSet("1.2.4", Paint.blank, "Apache-2.0", "ByteDance"),
    "icon-park-twotone": IconSet("1.2.4", Paint.blank, "Apache-2.0", "ByteDance"),
    "game-icons": IconSet("1.2.4", Paint.blank, "CC-BY-3.0", "the artists of game-icons.net"),
    "ph": IconSet("1.2.2", Paint.blank, "MIT", "Phosphor Icons"),
    "mdi": IconSet("1.2.3", Paint.blank, "Apache-2.0", "Pictogrammers"),
    "tabler": IconSet("1.2.41", Paint.blank, "MIT", "Paweł Kuna"),
    "healthicons": IconSet("1.2.13", Paint.blank, "MIT", "Resolve to Save Lives"),
    "fa6-solid": IconSet("1.2.4", Paint.blank, "CC-BY-4.0", "Dave Gandy, Font Awesome"),
    "mingcute": IconSet("1.2.8", Paint.blank, "Apache-2.0", "MingCute Design"),
    "solar": IconSet("1.2.13", Paint.blank, "CC-BY-4.0", "480 Design"),
    "material-symbols": IconSet("1.2.98", Paint.blank, "Apache-2.0", "Google"),
    "hugeicons": IconSet("1.2.35", Paint.blank, "MIT", "Hugeicons"),
    "streamline": IconSet("1.2.5", Paint.blank, "CC-BY-4.0", "Streamline"),
    "emojione": IconSet("1.2.3", Paint.natural, "CC-BY-4.0", "EmojiOne, Ranks.com Inc."),
}
_KEEPING_BACK = ("noto", "noto-v1", "twemoji", "openmoji")  # these have every concept
_ICON_PARK_BLUE = "#2F88FF"  # stands for the colour one asks for


@dataclass(frozen=True)
class Drawing:
    """One artist's picture of one concept."""

    concept: str
    style: str  # the icon set
    name: str  # the icon there
    view: tuple[float, float, float, float]  # left, top, width, height of what to show
    body: str  # SVG elements

    @property
    def paint(self) -> Paint:
        return Paint.natural if self.style == clipart.STYLE else SETS[self.style].paint

    @property
    def split(self) -> Split:
        """A third of the concepts keep one training style's drawings back for development."""
        place = zlib.crc32(self.concept.encode()) % (3 * len(_KEEPING_BACK))
        if self.style in _KEEPING_BACK[place : place + 1]:
            return Split.dev
        return icon_style(self.style)


@dataclass(frozen=True)
class Pose:
    """How a drawing lies in its square picture."""

    scale: float = 1.0  # share of the picture's side
    turn: float = 0.0  # degrees, clockwise
    slant: float = 0.0  # degrees
    across: float = 0.0  # shift of the centre, share of the side
    down: float = 0.0
    mirror: bool = False


@cache
def fetch_drawings(out: Path) -> list[Drawing]:
    """Every drawing that trains or is for development; the packages come as needed.

    Args:
        out: the folder of the whole recipe.
    """
    table = ICON_LIST.read_text(encoding="utf-8")
    opened = {clipart.STYLE: clipart.fetch_icons(out, _names(table, clipart.STYLE))}
    for style, icon_set in SETS.items():
        if (side := icon_style(style)) is Split.reserved:
            continue
        only = ", for development only" if side is Split.dev else ""
        folder = packages.fetch(
            out,
            packages.Registry.npm,
            f"@iconify-json/{style}",
            licence=icon_set.licence,
            attribution=icon_set.artist,
            taken=f"icons of the 100 concepts, rendered{only}",
            version=icon_set.version,
        )
        opened[style] = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    return list_drawings(table, opened)


def list_drawings(table: str, opened: Mapping[str, Mapping[str, Any]]) -> list[Drawing]:
    """The drawings that a table names, and EmojiOne's icon of each concept's own name.

    Args:
        table: lines of concept, sets joined by commas, names joined by spaces; tabs between. A set
            need not have every name.
        opened: set -> its `icons.json`.
    """
    lines = _lines(table)
    lines += [[concept, "emojione", concept.replace(" ", "-")] for concept in concepts()]
    drawings: dict[tuple[str, str], Drawing] = {}
    for concept, styles, names in lines:
        for style in styles.split(","):
            for name in names.split():
                icon = _icon(opened[style], name)
                if icon is not None:
                    drawings[style, icon[0]] = Drawing(concept, style, *icon)
    return list(drawings.values())


def render(drawing: Drawing, side: int, pose: Pose, colour: str = "#333333") -> Image.Image:
    """Render a drawing on nothing.

    Args:
        drawing: what to render.
        side: pixels.
        pose: where.
        colour: of the parts that have none of their own, as SVG writes it.

    Returns:
        RGBA, side x side.
    """
    left, top, width, height = drawing.view
    scale = 100 * pose.scale / max(width, height)
    body = drawing.body.replace("currentColor", colour).replace(_ICON_PARK_BLUE, colour)
    moves = (
        f"translate({50 + 100 * pose.across:.2f} {50 + 100 * pose.down:.2f}) "
        f"rotate({pose.turn:.2f}) skewX({pose.slant:.2f}) "
        f"scale({-scale if pose.mirror else scale:.5f} {scale:.5f}) "
        f"translate({-left - width / 2:.4f} {-top - height / 2:.4f})"
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 100 100" width="{side}" height="{side}"><g transform="{moves}">'
        f"{body}</g></svg>"
    )
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")


def _lines(table: str) -> list[list[str]]:
    return [line.split("\t") for line in table.splitlines() if not line.startswith("#")]


def _names(table: str, style: str) -> list[str]:
    return [name for _, styles, names in _lines(table) if styles == style for name in names.split()]


def _icon(
    opened: Mapping[str, Any], name: str
) -> tuple[str, tuple[float, float, float, float], str] | None:
    """Own name, view and SVG of an icon, or None; an alias leads to the icon it stands for."""
    name = opened.get("aliases", {}).get(name, {}).get("parent", name)
    icon = opened["icons"].get(name)
    if icon is None:
        return None
    size = [icon.get(key, opened.get(key, 16)) for key in ("width", "height")]
    return name, (icon.get("left", 0), icon.get("top", 0), *size), icon["body"]
