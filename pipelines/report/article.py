"""Runs -> the tables of the article that this project makes real, its figures beside measured ones.

What each line says and is measured by is in `article.yaml`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from pipelines.report import wording as say
from pipelines.report.numbers import Numbers, positive
from pipelines.report.run import Run

_SEGMENT_S = 0.16  # of sound: a soft token, which the article calls a segment
_SYSTEM_BYTES = 1e9  # left to the system of a device
_SMALL = ("small", "e2b")
_RELEASED = 1e9  # parameters: fewer, and it is no released checkpoint
NO_RUN = "no run for it"


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    name: str
    says: str
    measured: str
    runs: list[int]  # numbers of those it is of


@dataclass(frozen=True)
class Table:
    """One table."""

    title: str
    says: str  # heading of the article's column
    why: str  # the two differ
    lines: list[Line]


Told = tuple[Run, Numbers]


class Value(NamedTuple):
    """What one run comes to; the lowest and the highest are told."""

    number: float
    text: str


def article_tables(runs: Sequence[Run], numbers: Sequence[Numbers]) -> list[Table]:
    """Every table, filled as far as there are runs for it; one that has not ended counts not."""
    both = zip(runs, numbers, strict=True)
    told = [one for one in both if one[0].has_ended and one[0].survey.items]
    return [
        Table(
            title=table["title"],
            says=table["says"],
            why=" ".join(table["why"].split()),
            lines=[_line(line, told) for line in table["rows"]],
        )
        for table in _article()
    ]


def measured_on(runs: Sequence[Run]) -> str:
    """Whose numbers they are, and a warning where they are not those of the released sizes."""
    models = dict.fromkeys(str(run.settings.get("model.path")) for run in runs)
    text = f"E2B stands for the nested size small and E4B for full, of {', '.join(models)}."
    if all(0 < _parameters(run) < _RELEASED for run in runs):
        text += (
            " That is no released checkpoint but a much smaller one: its numbers show how the "
            "tables are filled, and say nothing of E2B and E4B."
        )
    return text


def _parameters(run: Run) -> float:
    plan = run.timeline.get("plan")
    items = plan.get("items") if isinstance(plan, dict) else None
    told = [one.get("parameters") for one in items or [] if isinstance(one, dict)]
    return sum(positive(count) or 0.0 for count in told)


@lru_cache(maxsize=1)
def _article() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(
        (files(__package__) / "article.yaml").read_text(encoding="utf-8")
    )
    return found


def _line(line: dict[str, Any], told: Sequence[Told]) -> Line:
    fitting = [one for one in told if _fits(line, one[0])]
    measure = _MEASURES[line["measure"]]
    values = [(run.number, measure(line, (run, numbers))) for run, numbers in fitting]
    known = sorted(value for _, value in values if value)
    text = _UNKNOWN.get(line["measure"], NO_RUN) if fitting else NO_RUN
    if known:
        low, high = known[0].text, known[-1].text
        is_one = low == high or line["measure"] in _HIGHEST
        text = high if is_one else f"{low} to {high}"
    return Line(line["name"], line["says"], text, [n for n, value in values if value])


def _fits(line: dict[str, Any], run: Run) -> bool:
    if content_of(run) not in line["of"].split():
        return False
    if line["size"] != "any" and size_of(run) != line["size"]:
        return False
    return "pixels" not in line or str(run.settings.get("resize.resolution")) == str(line["pixels"])


def content_of(run: Run) -> str:
    """What the rows of a run hold, as the article's tables tell it apart."""
    if run.survey.images:
        return "pictures"
    return "sound" if run.survey.audio_s else "text"


def size_of(run: Run) -> str:
    """Whether a run was of the larger size or of the smaller, or of neither."""
    nested = run.fingerprint.get("nested")
    name = str(nested.get("name")) if isinstance(nested, dict) else ""
    return "small" if name in _SMALL else name


def _a_second(what: str, of: float | None, seconds: float | None) -> Value | None:
    if not of or not seconds:
        return None
    return Value(of / seconds, f"{say.figures(of / seconds)} {what}")


def _stage(run: Run, name: str) -> float | None:
    times = run.summary.get("stage_seconds")
    return positive(times.get(name)) if isinstance(times, dict) else None


def _tokens(_: dict[str, Any], told: Told) -> Value | None:
    run, _numbers = told
    return _a_second("tokens/s", positive(run.summary.get("new_tokens")), _stage(run, "decode"))


def _images(_: dict[str, Any], told: Told) -> Value | None:
    run, _numbers = told
    return _a_second("images/s", positive(run.summary.get("images")), _stage(run, "encode"))


def _segments(_: dict[str, Any], told: Told) -> Value | None:
    run, _numbers = told
    seconds = positive(run.summary.get("audio_seconds"))
    segments = seconds / _SEGMENT_S if seconds else None
    return _a_second("segments/s", segments, _stage(run, "encode"))


def _memory(_: dict[str, Any], told: Told) -> Value | None:
    _run, numbers = told
    host, device = numbers.memory_bytes, numbers.device_bytes
    if not host:
        return None
    text = f"{say.size(device)} of GPU, {say.size(host)} of host" if device else say.size(host)
    return Value(device or host, text)


def _fitting(line: dict[str, Any], told: Told) -> Value | None:
    _run, numbers = told
    taken = numbers.memory_bytes
    if not taken:
        return None
    fits = taken + _SYSTEM_BYTES <= line["gigabytes"] * 1e9
    return Value(taken, f"{'fits' if fits else 'does not fit'}, {say.size(taken)}")


def _hits(_: dict[str, Any], told: Told) -> Value | None:
    _run, numbers = told
    return (
        None if numbers.hit_rate is None else Value(numbers.hit_rate, say.percent(numbers.hit_rate))
    )


def _joules(_: dict[str, Any], told: Told) -> Value | None:
    run, numbers = told
    return _each(numbers.joules, positive(run.summary.get("rows")))


def _joules_a_minute(_: dict[str, Any], told: Told) -> Value | None:
    run, numbers = told
    seconds = positive(run.summary.get("audio_seconds"))
    return _each(numbers.joules, seconds / 60 if seconds else None)


def _each(joules: float | None, count: float | None) -> Value | None:
    return Value(joules / count, f"{say.figures(joules / count)} J") if joules and count else None


_MEASURES: dict[str, Callable[[dict[str, Any], Told], Value | None]] = {
    "tokens_a_second": _tokens,
    "images_a_second": _images,
    "segments_a_second": _segments,
    "memory": _memory,
    "fits": _fitting,
    "hit_rate": _hits,
    "joules_a_row": _joules,
    "joules_a_minute": _joules_a_minute,
}
_HIGHEST = ("memory", "fits")  # of which the run that took most is told
# Why a run that is there tells nothing.
_UNKNOWN = {
    "hit_rate": "no cache was needed",
    "joules_a_row": "not measurable",
    "joules_a_minute": "not measurable",
}
