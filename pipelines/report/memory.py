"""What memory a run took, tier by tier, beside what was planned, and over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.report import wording as say
from pipelines.report.numbers import Numbers
from pipelines.report.plots import Plot, Shape, Tick, axis, band, line
from pipelines.report.run import Run
from pipelines.report.series import column

_KINDS = ("first", "second", "third", "fourth", "fifth")  # classes of neighbours in a bar


@dataclass(frozen=True)
class Slice:
    """A piece of a bar."""

    name: str
    size: str
    share: float  # percent of the bar's whole width
    kind: str


@dataclass(frozen=True)
class Bar:
    """Planned, or measured, in one tier."""

    name: str
    size: str
    slices: list[Slice]


@dataclass(frozen=True)
class MemoryView:
    """Bars below each other, on one scale, and a plot over time."""

    bars: list[Bar]
    note: str
    plot: Plot | None


def memory_view(run: Run, numbers: Numbers) -> MemoryView | None:
    """Plan and measurement of a run; None where neither is known."""
    plan = run.timeline.get("plan")
    items = plan.get("items") if isinstance(plan, Mapping) else None
    planned = [one for one in items or [] if _is_item(one)]
    has_gpu = bool(numbers.device_bytes)
    rows: list[tuple[str, list[tuple[str, float]]]] = []
    if has_gpu:
        rows.append(("GPU, planned", _of(planned, "device")))
        rows.append(("GPU, peak", [("held by torch", numbers.device_bytes or 0.0)]))
        rows.append(("Memory, planned", _of(planned, "host")))
    else:
        rows.append(("Memory, planned", _of(planned, "device") + _of(planned, "host")))
    rows.append(("Weights, loaded", _loaded(run)))
    rows.append(("Memory, peak", _measured(run, numbers)))
    rows.append(("Left on disk, planned", _of(planned, "disk")))
    rows = [(name, some) for name, some in rows if some]
    if not rows:
        return None
    most = max(sum(size for _, size in some) for _, some in rows)
    return MemoryView([_bar(name, some, most) for name, some in rows], _note(run), _plot(run))


def _is_item(one: Any) -> bool:
    if not isinstance(one, Mapping) or not {"what", "tier", "bytes"} <= one.keys():
        return False
    return isinstance(one["bytes"], int | float)


def _of(planned: list[Any], tier: str) -> list[tuple[str, float]]:
    """The pieces of a tier."""
    return _few([(str(one["what"]), float(one["bytes"])) for one in planned if one["tier"] == tier])


def _loaded(run: Run) -> list[tuple[str, float]]:
    """Bytes of each part of the model, as far as the run tells them."""
    parts = run.summary.get("parts")
    told = parts.items() if isinstance(parts, Mapping) else []
    sizes = [(str(name), part.get("bytes")) for name, part in told if isinstance(part, Mapping)]
    return _few([(name, float(size)) for name, size in sizes if isinstance(size, int)])


def _few(found: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The largest first; beyond a few, the small ones together."""
    found = sorted(found, key=lambda one: -one[1])
    most = len(_KINDS) - 1
    if len(found) > len(_KINDS):
        found = [*found[:most], ("others", sum(size for _, size in found[most:]))]
    return found


def _measured(run: Run, numbers: Numbers) -> list[tuple[str, float]]:
    samples = run.timeline.get("samples")
    peak = numbers.memory_bytes
    if isinstance(samples, Mapping) and not run.summary.get("pools"):
        own, mapped = column(samples, "memory.anonymous"), column(samples, "memory.mapped")
        if own is not None and mapped is not None and len(own) == len(mapped):
            top = int(np.argmax(own + mapped))
            found = [("its own", float(own[top])), ("mapped files", float(mapped[top]))]
            short = (peak or 0.0) - sum(size for _, size in found)
            return [*found, ("while loading", short)] if short > 0.02 * (peak or 0.0) else found
    return [("peak", peak)] if peak else []


def _bar(name: str, some: list[tuple[str, float]], most: float) -> Bar:
    slices = [
        Slice(what, say.size(size), 100 * size / most if most else 0.0, kind)
        for (what, size), kind in zip(some, _KINDS, strict=False)
    ]
    return Bar(name, say.size(sum(size for _, size in some)), slices)


def _note(run: Run) -> str:
    if not run.summary.get("pools"):
        return ""
    return "The plan is of one process with all parts; the peak is of the largest of all pools."


def _plot(run: Run) -> Plot | None:
    """Memory of the process over time, its own below and mapped files above."""
    samples = run.timeline.get("samples")
    if not isinstance(samples, Mapping) or run.summary.get("pools"):
        return None
    times = column(samples, "seconds")
    own, mapped = column(samples, "memory.anonymous"), column(samples, "memory.mapped")
    if times is None or own is None or mapped is None or len(times) < 3 or times[-1] <= 0:
        return None
    if not len(times) == len(own) == len(mapped):
        return None
    device = column(samples, "memory.device")
    top = max(float((own + mapped).max()), 0.0 if device is None else float(device.max()))
    unit, word = (1e9, "GB") if top >= 1e9 else (1e6, "MB")
    over = axis([top / unit], most=4)
    xs = [100 * float(t / times[-1]) for t in times]
    lower = [over.at(float(v) / unit) for v in own]
    upper = [over.at(float(v) / unit) for v in own + mapped]
    shapes = [
        Shape("area first", band(xs, [0.0] * len(xs), lower), "its own"),
        Shape("area second", band(xs, lower, upper), "mapped files"),
    ]
    if device is not None and len(device) == len(times):
        points = [(x, over.at(float(v) / unit)) for x, v in zip(xs, device, strict=True)]
        shapes.append(Shape("line third", line(points), "GPU"))
    return Plot(
        title="Memory of the process over time",
        caption="",
        x_title="",
        y_title=word,
        x_ticks=[Tick(0.0, "0"), Tick(100.0, say.duration(float(times[-1])))],
        y_ticks=over.ticks(lambda value: f"{value:g}"),
        shapes=shapes,
    )
