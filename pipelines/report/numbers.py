"""A run -> the numbers that it is known by."""

from dataclasses import dataclass
from typing import Any

from pipelines.intervals import Score
from pipelines.report.run import Run
from pipelines.report.series import column


@dataclass(frozen=True)
class Numbers:
    """None where nobody knows."""

    seconds: float | None
    speed: float | None
    speed_unit: str
    tokens_a_second: float | None
    quality: Score | None
    memory_bytes: float | None
    device_bytes: float | None
    ready: float | None  # share of rows that were read when the model asked for them
    waited_seconds: float | None
    hit_rate: float | None  # of rows of the PLE table, in the cache beside the compute
    joules: float | None


def numbers_of(run: Run) -> Numbers:
    """The headline numbers of a run; those of time are of its last start."""
    summary, survey = run.summary or _so_far(run), run.survey
    seconds = positive(summary.get("seconds"))
    audio, images = positive(summary.get("audio_seconds")), positive(summary.get("images"))
    work, unit = positive(summary.get("items")), "items/s"
    if audio:
        work, unit = audio, "\u00d7 real time"
    elif images:
        work, unit = images, "images/s"
    rows = positive(summary.get("rows"))
    ready = summary.get("rows_ready")
    is_told = not run.summary.get("pools") and isinstance(ready, int | float) and rows
    return Numbers(
        seconds=seconds,
        speed=work / seconds if work and seconds else None,
        speed_unit=unit,
        tokens_a_second=_over(positive(summary.get("new_tokens")), seconds),
        quality=survey.quality.overall() if survey.quality else None,
        memory_bytes=_memory(run),
        device_bytes=_highest(run, "memory.device_peak"),
        ready=min(1.0, ready / rows) if is_told and rows and ready is not None else None,
        waited_seconds=_number(summary.get("waited_seconds")) if is_told else None,
        hit_rate=hit_rate(summary),
        joules=_joules(summary.get("joules")),
    )


def _joules(by_device: Any) -> float | None:
    if not isinstance(by_device, dict):
        return None
    return sum(positive(joules) or 0.0 for joules in by_device.values()) or None


def hit_rate(summary: dict[str, Any]) -> float | None:
    """The share of rows of the PLE table that the row cache had, where the run tells it."""
    told = summary.get("ple")
    if not isinstance(told, dict):
        return None
    if (rate := _number(told.get("hit_rate"))) is not None:
        return rate
    return None


def positive(value: Any) -> float | None:
    """A number above zero, and None for all else."""
    number = _number(value)
    return number if number and number > 0 else None


def _number(value: Any) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_one and abs(value) < 1e300 else None


def _over(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None


def _so_far(run: Run) -> dict[str, Any]:
    """Of a run without a summary, what its last sample says."""
    samples = run.timeline.get("samples")
    if not isinstance(samples, dict):
        return {}
    last = {}
    for name in ("seconds", "items", "rows", "new_tokens"):
        if (values := column(samples, name)) is not None:
            last[name] = float(values[-1])
    return last


def _memory(run: Run) -> float | None:
    """Most memory of one process."""
    pools = run.summary.get("pools")
    there = [positive(run.summary.get("peak_rss_bytes"))]
    if isinstance(pools, dict):
        there += [positive(p.get("peak_rss_bytes")) for p in pools.values() if isinstance(p, dict)]
    own, mapped = _highest(run, "memory.anonymous"), _highest(run, "memory.mapped")
    if not run.summary and own:
        there.append(own + (mapped or 0.0))
    return max((one for one in there if one), default=None)


def _highest(run: Run, name: str) -> float | None:
    samples = run.timeline.get("samples")
    values = column(samples, name) if isinstance(samples, dict) else None
    return None if values is None else float(values.max())
