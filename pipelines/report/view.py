"""One run -> its part of the page: what stands in it, worded, and where its figures' shapes lie."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.keys import typed
from pipelines.path import unused_groups
from pipelines.report import wording as say
from pipelines.report.embed import Embedded
from pipelines.report.memory import MemoryView, memory_view
from pipelines.report.numbers import Numbers, numbers_of, positive
from pipelines.report.plots import Tick, axis, stairs
from pipelines.report.quality import Metric, Sliced
from pipelines.report.run import Run
from pipelines.report.series import series_of
from pipelines.report.survey import Shown
from pipelines.report.words import Piece, compared

_TEXT = 400  # characters of a text that are shown
_FAILURES = 20  # kinds
_SETS = 30


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class StageView:
    """One stage, as a line of its table."""

    name: str
    rows: str
    seconds: str
    share: float  # of the run's time that it was busy, in percent, at most 100
    share_text: str
    rate: str  # path of its rows a second
    rate_most: str
    queue: str  # path of the rows before it; empty for the first
    queue_most: str


@dataclass(frozen=True)
class DotView:
    """One score with its interval, in percent of the axis."""

    name: str
    rows: str
    value: str
    interval: str
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Dots:
    """Scores below each other, on one axis."""

    title: str
    lines: list[DotView]
    ticks: list[Tick]


@dataclass(frozen=True)
class RowView:
    """A row with what it is of."""

    item: str
    facts: list[str]
    reference: list[Piece] | None
    text: list[Piece]
    media: list[Embedded]
    notes: list[str]


@dataclass
class RunView:
    """What the template of a run draws."""

    run: Run
    numbers: Numbers
    status: str
    status_kind: str
    facts: list[str]
    tiles: list[Tile]
    stages: list[StageView]
    time_ticks: list[Tick]
    memory: MemoryView | None
    quality: list[Dots]
    metric: Metric | None
    failures: list[dict[str, Any]]
    more_failures: int
    worst: list[RowView]
    random: list[RowView]
    worst_by: str
    settings: list[tuple[str, str]]
    where: list[str] = field(default_factory=list)


def view_of(run: Run) -> RunView:
    """Word and draw a run."""
    numbers = numbers_of(run)
    stages, ticks = _stages(run)
    status, kind = _status(run)
    quality = run.survey.quality
    failures = sorted(run.survey.failures.values(), key=lambda one: -one.count)
    return RunView(
        run=run,
        numbers=numbers,
        status=status,
        status_kind=kind,
        facts=list(_facts(run)),
        tiles=list(_tiles(run, numbers)),
        stages=stages,
        time_ticks=ticks,
        memory=memory_view(run, numbers),
        quality=list(_quality(run)),
        metric=quality.metric if quality else None,
        failures=[_failure(one) for one in failures[:_FAILURES]],
        more_failures=len(failures[_FAILURES:]),
        worst=[_row(run, row) for row in run.survey.worst],
        random=[_row(run, row) for row in run.survey.random],
        worst_by=_worst_by(run),
        settings=list(_settings(run)),
        where=list(_where(run.timeline.get("where"))),
    )


def _status(run: Run) -> tuple[str, str]:
    failed = run.survey.failed
    if not run.has_ended:
        return "Not finished", "open"
    if failed:
        return f"Finished, {say.number(failed)} row{'s' if failed != 1 else ''} failed", "failed"
    return "Finished, no row failed", "done"


def _facts(run: Run) -> Iterator[str]:
    model = str(run.settings.get("model.path") or "").rstrip("/").rpartition("/")[2]
    size = run.fingerprint.get("nested")
    name = size.get("name") if isinstance(size, dict) else None
    precision = run.fingerprint.get("precision") or run.settings.get("precision")
    for fact in (model, name and f"size {name}", precision, run.settings.get("executor.kind")):
        if fact:
            yield say.cut(str(fact), 60)
    if run.began:
        yield run.began


def _tiles(run: Run, numbers: Numbers) -> Iterator[Tile]:
    survey = run.survey
    total = run.summary.get("total")
    of = f"of {say.number(total)}" if isinstance(total, int) and total > survey.items else ""
    yield Tile("Items", say.number(survey.items), of or _content(run))
    if quality := numbers.quality:
        metric = survey.quality.metric if survey.quality else None
        note = say.interval(quality.low, quality.high)
        rows = survey.quality.rows if survey.quality else 0
        yield Tile(
            metric.name if metric else "",
            say.percent(quality.value),
            f"95 %: {note}" if note else f"{say.number(rows)} rows, too few for an interval",
        )
    if numbers.speed:
        yield Tile("Speed", say.figures(numbers.speed), numbers.speed_unit)
    if numbers.tokens_a_second:
        tokens = f"tokens/s, {say.number(survey.new_tokens)} in all"
        yield Tile("Decoding", say.figures(numbers.tokens_a_second), tokens)
    if numbers.seconds:
        yield Tile("Time", say.duration(numbers.seconds), "loading included")
    if numbers.memory_bytes:
        note = "most of one process" if run.summary.get("pools") else "peak of the process"
        yield Tile("Memory", say.size(numbers.memory_bytes), note)
    if numbers.device_bytes:
        yield Tile("GPU memory", say.size(numbers.device_bytes), "peak of torch")
    if numbers.ready is not None:
        waited = say.duration(numbers.waited_seconds)
        yield Tile("Ready rows", say.percent(numbers.ready), f"the model waited {waited}")
    if numbers.hit_rate is not None:
        yield Tile("PLE cache hits", say.percent(numbers.hit_rate), "of rows asked for")
    yield from _policy(run)
    if numbers.joules:
        yield Tile("Energy", say.figures(numbers.joules / 1000, "kJ"), "as the machine counted it")
    yield Tile("Failed rows", say.number(survey.failed), f"of {say.number(survey.rows)}")


def _policy(run: Run) -> Iterator[Tile]:
    """How several nested sizes shared the work, where they did."""
    sizes, counts = run.summary.get("sizes"), run.summary.get("counts")
    if isinstance(sizes, Mapping) and len(sizes) > 1:
        known = {str(name): positive(rows) or 0.0 for name, rows in sizes.items()}
        first = max(known, key=lambda name: known[name])
        others = ", ".join(f"{say.cut(n, 20)} {say.number(known[n])}" for n in known if n != first)
        share = say.percent(known[first] / (sum(known.values()) or 1.0))
        yield Tile(f"Answered by {say.cut(first, 20)}", share, f"rows; {others}")
    told = counts.get("decode") if isinstance(counts, Mapping) else None
    if isinstance(told, Mapping) and (drafted := positive(told.get("drafted"))):
        accepted = positive(told.get("accepted")) or 0.0
        note = f"accepted, of {say.number(drafted)} tokens"
        yield Tile("Drafts", say.percent(accepted / drafted), note)


def _content(run: Run) -> str:
    if run.survey.audio_s:
        return f"{say.duration(run.survey.audio_s)} of sound"
    if run.survey.images:
        return f"{say.number(run.survey.images)} pictures"
    return ""


def _stages(run: Run) -> tuple[list[StageView], list[Tick]]:
    path = run.settings.get("path")
    series = series_of(run.timeline, path if isinstance(path, list) else [])
    if series is None:
        return [], []
    views = []
    for one in series.stages:
        rates = axis([float(one.rate.max())])
        queue = axis([0.0 if one.queue is None else float(one.queue.max())])
        share = one.seconds / series.seconds
        views.append(
            StageView(
                name=one.name,
                rows=say.number(one.rows),
                seconds=say.duration(one.seconds),
                share=min(100.0, 100 * share),
                share_text=f"{100 * share:.0f} %",
                rate=stairs([float(v) for v in one.rate], rates),
                rate_most=say.figures(float(one.rate.max())),
                queue="" if one.queue is None else stairs([float(v) for v in one.queue], queue),
                queue_most="" if one.queue is None else say.figures(float(one.queue.max())),
            )
        )
    return views, time_ticks(series.seconds)


def time_ticks(seconds: float) -> list[Tick]:
    """Begin and end of the time that figures span."""
    return [Tick(0.0, "0"), Tick(100.0, say.duration(seconds))]


def _quality(run: Run) -> Iterator[Dots]:
    quality = run.survey.quality
    if quality is None:
        return
    by_set, by_length = quality.by_set(), quality.by_length()
    shown = by_set[:_SETS] + by_length
    values = [v for one in shown for v in (one.score.value, one.score.high) if v is not None]
    over = axis([100 * value for value in values], most=4)

    def dot(one: Sliced) -> DotView:
        score = one.score
        low, high = (None if v is None else over.at(100 * v) for v in (score.low, score.high))
        return DotView(
            name=say.cut(one.name, 80),
            rows=say.number(one.rows),
            value=say.percent(score.value),
            interval=say.interval(score.low, score.high),
            at=over.at(100 * score.value),
            low=low,
            high=high,
        )

    ticks = over.ticks(lambda value: f"{value:g} %")
    if len(by_set) > 1:
        yield Dots("By set of the manifest", [dot(one) for one in by_set[:_SETS]], ticks)
    if by_length:
        what = "sound" if run.survey.audio_s else "reference"
        yield Dots(f"By length of the {what}", [dot(one) for one in by_length], ticks)


def _failure(one: Any) -> dict[str, Any]:
    return {
        "stage": one.stage,
        "count": say.number(one.count),
        "message": say.cut(one.message, 600),
        "items": [say.cut(item, 120) for item in one.items],
        "more": one.count - len(one.items),
    }


def _worst_by(run: Run) -> str:
    quality = run.survey.quality
    if quality is None:
        return "The lowest mean log-probability a token first: where the model was least sure."
    if quality.metric.lower_is_better:
        return "Most word errors first. Words that differ are marked."
    return "Fewest words shared with the reference first. Words that differ are marked."


def _row(run: Run, row: Shown) -> RowView:
    made = run.media_of(row)
    reference, text = None, [Piece(say.cut(row.text, _TEXT), differs=False)]
    if row.reference is not None:
        reference, text = compared(say.cut(row.reference, _TEXT), say.cut(row.text, _TEXT))
    return RowView(
        item=say.cut(row.item, 160),
        facts=list(_row_facts(run, row)),
        reference=reference,
        text=text,
        media=[one for one in made if isinstance(one, Embedded)],
        notes=[one for one in made if isinstance(one, str)],
    )


def _row_facts(run: Run, row: Shown) -> Iterator[str]:
    quality = run.survey.quality
    if row.errors is not None and quality is not None:
        if quality.metric.lower_is_better:
            yield f"{row.errors.of:.0f} errors in {row.errors.out_of:.0f} words"
        else:
            yield f"F1 {say.percent(row.errors.of)}"
    if row.end_s is not None:
        yield f"{say.clock(row.start_s)}\u2013{say.clock(row.end_s)}"
    if row.logprob is not None:
        yield f"log-probability {say.signed(row.logprob)}"
    for fact in (row.set, row.note):
        if fact:
            yield say.cut(fact, 160)


def _settings(run: Run) -> Iterator[tuple[str, str]]:
    """Those that did something."""
    path = run.settings.get("path")
    unused = unused_groups(path) if isinstance(path, list) else set()
    for name, value in run.settings.items():
        is_idle = name.startswith("executor.pools.") and not run.summary.get("pools")
        if name.partition(".")[0] not in unused and not is_idle:
            yield name, say.cut(typed(value), 300)


def _where(found: Any) -> Iterator[str]:
    if not isinstance(found, Mapping):
        return
    if gpu := found.get("gpu"):
        yield str(gpu)
    if processor := found.get("processor"):
        yield str(processor)
    if cores := found.get("cores"):
        yield f"{cores} cores"
    if isinstance(memory := found.get("memory_bytes"), int):
        yield f"{say.size(memory)} of memory"
    for name in ("system", "python", "torch"):
        if value := found.get(name):
            yield f"{value}" if name == "system" else f"{name} {value}"
