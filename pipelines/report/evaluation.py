"""`scores.json` of an evaluation -> its table, and what a calibrated threshold costs and gives.

Runs tell of themselves; only here stands what was scored anew: BLEU, slices, paired differences.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report import wording as say
from pipelines.report.found import folders_below, is_evaluation
from pipelines.report.group import Cell
from pipelines.report.plots import Axis, Mark, Plot, Shape, axis, line
from pipelines.score_files import SCORES, SLICED

_MARGIN = 8.0  # percent, beside the marks at either end


@dataclass(frozen=True)
class Line:
    """One set, or slice, at one size."""

    name: str
    size: str
    rows: str
    failed: str
    cells: list[Cell]  # scores, each noting its interval


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate=true` found."""

    told: str
    use: str  # settings that use it
    plot: Plot


@dataclass(frozen=True)
class Evaluation:
    """One evaluation."""

    name: str
    facts: list[str]
    columns: list[str]
    sets: list[Line]
    slices: list[Line]
    signatures: list[str]  # of scores that have one
    calibrated: Calibrated | None
    notice: str = ""  # why there is nothing else


def find_evaluations(paths: Sequence[str]) -> list[Evaluation]:
    """All that the folders are or hold, each once."""
    found: dict[Path, Evaluation] = {}
    for base in filter(Path.is_dir, map(Path, paths)):
        own = base.resolve().name
        for folder in folders_below(base, is_evaluation):
            name = folder.relative_to(base).as_posix()
            if name == "." or len(paths) > 1:
                name = own if name == "." else f"{own}/{name}"
            found.setdefault(folder.resolve(), _read(folder, name))
    return list(found.values())


def _read(folder: Path, name: str) -> Evaluation:
    try:
        return evaluation_of(json.loads((folder / SCORES).read_text(encoding="utf-8")), name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        notice = f"{SCORES} cannot be used and is passed over: {type(error).__name__}: {error}."
        return Evaluation(name, [], [], [], [], [], None, say.cut(notice, 300))


def evaluation_of(found: Mapping[str, Any], name: str) -> Evaluation:
    """Word an evaluation.

    Args:
        found: as `score_files.Scores` says.
        name: of its folder.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no such thing.
    """
    shown, over = found["shown"], found["over"]
    columns = list(map(_name, shown.values()))
    if len(found["runs"]) > 1:
        columns.append(f"{columns[0]} over {say.cut(over, 20)}, points")
    slices = {
        f"{SLICED.get(kind, kind)}: {part}": by_size
        for kind, named in found.get("slices", {}).items()
        for part, by_size in named.items()
    }
    calibration = found.get("calibration")
    return Evaluation(
        name=say.cut(name, 160),
        facts=[say.cut(str(found[key]), 60) for key in ("model", "task") if found.get(key)],
        columns=columns,
        sets=list(_lines(found, found["sets"])),
        slices=list(_lines(found, slices)),
        signatures=[f"{key}: {text}" for key, text in found.get("signatures", {}).items()],
        calibrated=_calibrated(calibration, shown) if calibration else None,
    )


def _lines(found: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[Line]:
    shown, over = list(found["shown"]), found["over"]
    for name, by_size in named.items():
        for size, one in by_size.items():
            cells = [_cell(one["scores"].get(key), say.percent) for key in shown]
            if len(found["runs"]) > 1:
                cells.append(
                    Cell(say.NONE)
                    if size == over
                    else _cell(one["difference"].get(shown[0]), say.points)
                )
            yield Line(
                name=say.cut(name, 80),
                size=say.cut(size, 40),
                rows=say.number(one["rows"]),
                failed=say.number(one["failed"]),
                cells=cells,
            )


def _name(heading: str) -> str:
    """Of a score; its heading may say that it is in percent, as every value here does."""
    return heading.removesuffix(" %")


def _cell(score: Mapping[str, Any] | None, word: Callable[[float], str]) -> Cell:
    if score is None:
        return Cell(say.NONE)
    return Cell(word(score["value"]), say.interval(score["low"], score["high"]))


def _calibrated(found: Mapping[str, Any], shown: Mapping[str, str]) -> Calibrated:
    small, large = say.cut(found["small"], 20), say.cut(found["large"], 20)
    name = _name(shown.get(found["metric"], found["metric"]))
    threshold, rows = found["threshold"], found["rows"]
    use = f"nested={small}"
    if threshold is not None:
        use = f"nested={large} policy=auto policy.small={small} policy.threshold={threshold:.6g}"
    told = (
        f"Chosen on {say.number(rows['chosen_on'])} rows so that {name} is within "
        f"{100 * found['tolerance']:g} points of {large}; drawn from the other "
        f"{say.number(rows['judged_on'])}, which had no say in it. {small} decodes all rows "
        f"first; its tokens are not in the cost."
    )
    return Calibrated(told, use, _plot(found, name, small, large))


def _plot(found: Mapping[str, Any], name: str, small: str, large: str) -> Plot:
    """The score against what is decoded again, with either size alone."""
    alone = found["judged"]["large"]["large_tokens"]

    def share(tokens: float) -> float:
        return 100 * tokens / max(1, alone)

    labels = {"small": small, "auto": "auto", "large": large}
    chosen = "auto"
    if found["threshold"] is None:  # `auto` is the small size alone
        del labels["auto"]
        chosen = "small"
    judged = {
        key: (share(one["large_tokens"]), 100 * one["score"]["value"])
        for key in labels
        for one in [found["judged"][key]]
    }
    curve = [(share(one["large_tokens"]), 100 * one["score"]) for one in found["curve"]]
    across = Axis(-_MARGIN, max(x for x, _ in (*curve, *judged.values())) + _MARGIN)
    up = axis([y for _, y in (*curve, *judged.values())], from_zero=False, most=4)
    marks = [
        Mark(
            x=across.at(x),
            y=up.at(y),
            kind="front" if key == chosen else "beaten",
            label=labels[key],
            title=f"{labels[key]}: {say.percent(y / 100)}, {x:.0f} % of the tokens of {large}",
        )
        for key, (x, y) in judged.items()
    ]
    points = [(across.at(x), up.at(y)) for x, y in curve]
    better = "Lower" if found["lower_is_better"] else "Higher"
    return Plot(
        title=f"{name} against cost, threshold by threshold",
        caption=f"{better} and further to the left is better.",
        x_title=f"tokens that {large} decodes, % of what it decodes alone",
        y_title=f"{name}, %",
        x_ticks=across.ticks(lambda value: f"{value:g}"),
        y_ticks=up.ticks(lambda value: f"{value:g}"),
        shapes=[Shape("line third", line(points))] if len(points) > 1 else [],
        marks=marks,
    )
