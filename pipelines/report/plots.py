"""Numbers -> places on a plot, in percent of its width and height, as the page's templates draw it.

Shapes are drawn in a box that is stretched to whatever width there is; words and points stand on it
as text of the page, so that they keep their size on a phone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tick:
    """A number on an axis."""

    at: float  # percent of the axis, from its start
    label: str


@dataclass(frozen=True)
class Shape:
    """A line or an area."""

    kind: str  # class in the style sheet
    path: str  # of SVG, in a box of 100 by 100 that begins at the top left
    label: str = ""  # in the legend


@dataclass(frozen=True)
class Mark:
    """A point."""

    x: float  # percent from the left
    y: float  # percent from the bottom
    kind: str
    label: str
    title: str


@dataclass(frozen=True)
class Plot:
    """One figure."""

    title: str
    caption: str
    x_title: str
    y_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    shapes: list[Shape] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along a side."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Percent of the way."""
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self, word: Callable[[float], str], most: int = 5) -> list[Tick]:
        """Round numbers on it, at most so many."""
        step = nice_step(self.high - self.low, most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [Tick(self.at(n * step), word(n * step)) for n in range(first, last + 1)]


def axis(values: Sequence[float], from_zero: bool = True, most: int = 5) -> Axis:
    """An axis that holds the values, up to a round number; all values finite.

    Args:
        values: none, for an axis from 0 to 1.
        from_zero: whether it begins at zero; else a little below the values.
        most: round numbers on it.
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    span = high - low or abs(high) or 1.0
    step = nice_step(span * (1.0 if from_zero else 1.3), most)
    if not from_zero:
        # What is never negative has no room below zero.
        first = math.floor((low - 0.15 * span) / step) * step
        last = math.ceil((high + 0.15 * span) / step) * step
        return Axis(max(0.0, first) if low >= 0 else first, last)
    top = high if high > low else span  # nothing but zeros has room above
    return Axis(math.floor(low / step) * step, math.ceil(top / step - 1e-9) * step)


def nice_step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten, of which at most so many fit."""
    least = span / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least * (1 - 1e-9))


def line(points: Sequence[tuple[float, float]]) -> str:
    """A path through points in percent, y from the bottom."""
    return "M" + "L".join(f"{x:.2f} {100 - y:.2f}" for x, y in points) if points else ""


def stairs(values: Sequence[float], over: Axis) -> str:
    """An area of even steps, one a value, from the bottom."""
    width = 100 / max(1, len(values))
    parts = ["M0 100"]
    for n, value in enumerate(values):
        y = 100 - over.at(value)
        parts.append(f"L{n * width:.2f} {y:.2f}L{(n + 1) * width:.2f} {y:.2f}")
    return "".join(parts) + "L100 100Z"


def band(xs: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """An area between two lines, all in percent."""
    there = list(zip(xs, high, strict=True))
    back = list(zip(xs, low, strict=True))[::-1]
    return line([*there, *back]) + "Z" if there else ""
