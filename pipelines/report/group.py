"""Runs of one job -> their comparison: a table, in what they differ, and quality against cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.report import wording as say
from pipelines.report.compare import differences, labels, pareto
from pipelines.report.numbers import Numbers
from pipelines.report.plots import Mark, Plot, Shape, axis, line
from pipelines.report.quality import Metric
from pipelines.report.run import Run

# Of a run that has not ended: it is weighed against nothing.
_UNKNOWN = Numbers(None, None, "", None, None, None, None, None, None, None, None)
_COLUMNS = 4  # settings that differ, as columns of the table; the others are listed below it


@dataclass(frozen=True)
class Cell:
    """A number of a run."""

    value: str
    note: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Line:
    """A run in the table."""

    number: int
    label: str
    settings: list[str]
    cells: list[Cell]
    on_front: bool
    has_ended: bool


@dataclass(frozen=True)
class Group:
    """Runs of one job."""

    job: str
    columns: list[str]  # settings
    measures: list[str]  # names of the numbers, with units
    lines: list[Line]
    differing: dict[str, list[str]]  # all settings that differ
    plots: list[Plot]
    front_of: str  # what the front weighs against each other; empty where there is none


@dataclass(frozen=True)
class Cost:
    """What a run takes, or gives, besides quality."""

    name: str
    of: Callable[[Numbers], float | None]
    more_is_better: bool
    word: Callable[[float], str]
    scale: float = 1.0  # that makes of a number what the axis counts


def group_of(job: str, runs: Sequence[Run], numbers: Sequence[Numbers]) -> Group:
    """Compare.

    Args:
        job: that all runs are of.
        runs: two or more; their labels are set.
        numbers: of each.
    """
    differing = differences(runs)
    for run, label in zip(runs, labels(runs, differing), strict=True):
        run.label = label
    metric = next((run.survey.quality.metric for run in runs if run.survey.quality), None)
    weighed = [one if run.has_ended else _UNKNOWN for run, one in zip(runs, numbers, strict=True)]
    front = _front(weighed, metric)
    measures = _measures(runs, numbers, metric)
    columns = list(differing)[:_COLUMNS]
    lines = [
        Line(
            number=run.number,
            label=run.name if run.name != "." else run.folder.resolve().name,
            settings=[differing[name][n] for name in columns],
            cells=[cells[n] for cells in measures.values()],
            on_front=front[n],
            has_ended=run.has_ended,
        )
        for n, run in enumerate(runs)
    ]
    plots = [
        plot
        for cost in _COSTS
        if metric and (plot := _plot(cost, metric, runs, weighed)) is not None
    ]
    names = [cost.name.partition(",")[0] for cost in _costs(weighed)]
    front_of = f"{metric.name.lower()}, {' and '.join(names)}" if metric and any(front) else ""
    return Group(job, columns, list(measures), lines, differing, plots, front_of)


_COSTS = (
    Cost("tokens/s", lambda n: n.tokens_a_second, True, lambda v: f"{v:g}"),
    Cost("peak memory, MB", lambda n: n.device_bytes or n.memory_bytes, False, say.number, 1e6),
    Cost("energy, kJ", lambda n: n.joules, False, lambda v: f"{v:g}", 1e3),
)


def _costs(numbers: Sequence[Numbers]) -> list[Cost]:
    """Those that every run with a quality is known by."""
    scored = [one for one in numbers if one.quality]
    return [cost for cost in _COSTS if scored and all(cost.of(one) for one in scored)]


def _front(numbers: Sequence[Numbers], metric: Metric | None) -> list[bool]:
    """Which runs no other one beats in quality, speed, memory and energy together."""
    costs = _costs(numbers)
    points = {
        n: (
            _good(one, metric),
            *((c.of(one) or 0.0) * (1 if c.more_is_better else -1) for c in costs),
        )
        for n, one in enumerate(numbers)
        if metric and one.quality
    }
    if len(points) < 2 or not costs:
        return [False] * len(numbers)
    on_front = dict(zip(points, pareto(list(points.values())), strict=True))
    return [on_front.get(n, False) for n in range(len(numbers))]


def _good(numbers: Numbers, metric: Metric) -> float:
    value = numbers.quality.value if numbers.quality else 0.0
    return -value if metric.lower_is_better else value


def _measures(
    runs: Sequence[Run], numbers: Sequence[Numbers], metric: Metric | None
) -> dict[str, list[Cell]]:
    """Columns of numbers, those that any run has."""
    ended = [run.has_ended for run in runs]

    def best_of(values: Sequence[float | None], more: bool) -> list[bool]:
        return _best(values, ended, more)

    unit = next((one.speed_unit for one in numbers if one.speed), "items/s")
    found: dict[str, list[Cell]] = {
        "items": [
            Cell(say.number(run.survey.items), "" if run.has_ended else "not finished")
            for run in runs
        ],
        "failed rows": [Cell(say.number(run.survey.failed)) for run in runs],
    }
    if metric:
        scores = [one.quality for one in numbers]
        cells = [
            Cell(
                say.percent(score.value) if score else say.NONE,
                say.interval(score.low, score.high) if score else "",
            )
            for score in scores
        ]
        best = best_of([s.value if s else None for s in scores], not metric.lower_is_better)
        found[metric.name.lower()] = _marked(cells, best)
        found |= _over_first(runs, metric)

    def column(
        name: str,
        of: Callable[[Numbers], float | None],
        word: Callable[[float], str],
        more: bool | None,
    ) -> None:
        values = [of(one) for one in numbers]
        if any(value is not None for value in values):
            cells = [Cell(say.NONE if v is None else word(v)) for v in values]
            found[name] = cells if more is None else _marked(cells, best_of(values, more))

    column(f"speed, {unit}", lambda n: n.speed if n.speed_unit == unit else None, say.figures, True)
    column("tokens/s", lambda n: n.tokens_a_second, say.figures, True)
    column("time", lambda n: n.seconds, say.duration, None)
    column("peak memory", lambda n: n.memory_bytes, say.size, False)
    column("GPU memory", lambda n: n.device_bytes, say.size, False)
    column("PLE hits", lambda n: n.hit_rate, say.percent, None)
    column("energy, kJ", lambda n: None if n.joules is None else n.joules / 1e3, say.figures, False)
    return found


def _over_first(runs: Sequence[Run], metric: Metric) -> dict[str, list[Cell]]:
    """How much better or worse than the first run on the same rows, where they are the same."""
    first = runs[0].survey.quality
    cells = [Cell(say.NONE)]
    for run in runs[1:]:
        quality = run.survey.quality
        over = quality.over(first) if first and quality else None
        note = say.interval(over.low, over.high) if over else ""
        cells.append(Cell(say.points(over.value), note) if over else Cell(say.NONE))
    is_told = any(cell.value != say.NONE for cell in cells)
    return {f"{metric.short} over run {runs[0].number}, points": cells} if is_told else {}


def _best(values: Sequence[float | None], ended: Sequence[bool], more: bool) -> list[bool]:
    """Which values are the best of the runs that came to their end, if these differ."""
    known = [v for v, has_ended in zip(values, ended, strict=True) if has_ended and v is not None]
    if len(known) < 2 or min(known) == max(known):
        return [False] * len(values)
    best = max(known) if more else min(known)
    return [v == best and has_ended for v, has_ended in zip(values, ended, strict=True)]


def _marked(cells: list[Cell], best: list[bool]) -> list[Cell]:
    return [Cell(one.value, one.note, is_it) for one, is_it in zip(cells, best, strict=True)]


def _plot(
    cost: Cost, metric: Metric, runs: Sequence[Run], numbers: Sequence[Numbers]
) -> Plot | None:
    """Quality against one cost; the runs that no other beats in these two are joined."""
    known = [
        (run, one.quality, value / cost.scale)
        for run, one in zip(runs, numbers, strict=True)
        if one.quality and (value := cost.of(one)) is not None
    ]
    if len(known) < 2:
        return None
    sign = 1 if cost.more_is_better else -1
    better = -1 if metric.lower_is_better else 1
    front = pareto([(better * score.value, sign * value) for _, score, value in known])
    across = axis([value for *_, value in known], from_zero=False, most=4)
    up = axis([100 * score.value for _, score, _ in known], from_zero=False, most=4)
    marks = [
        Mark(
            x=across.at(value),
            y=up.at(100 * score.value),
            kind="front" if is_it else "beaten",
            label=str(run.number),
            title=f"{run.number}: {run.label}: {say.percent(score.value)}, {cost.word(value)}",
        )
        for (run, score, value), is_it in zip(known, front, strict=True)
    ]
    joined = sorted((mark.x, mark.y) for mark, is_it in zip(marks, front, strict=True) if is_it)
    side = "right" if cost.more_is_better else "left"
    height = "Lower" if metric.lower_is_better else "Higher"
    return Plot(
        title=f"{metric.name} against {cost.name.partition(',')[0]}",
        caption=f"{height} and further to the {side} is better.",
        x_title=cost.name,
        y_title=f"{metric.name}, %",
        x_ticks=across.ticks(cost.word),
        y_ticks=up.ticks(lambda value: f"{value:g}"),
        shapes=[Shape("line front", line(joined))] if len(joined) > 1 else [],
        marks=marks,
    )
