"""Samples of a run -> rates and queues over time, of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
_BINS = 60  # of the time that a run took


@dataclass(frozen=True)
class StageSeries:
    """What one stage did."""

    name: str
    rows: float  # in all
    seconds: float  # in all, its threads and processes together
    rate: F64  # [bins], rows a second that came out of it
    queue: F64 | None  # [bins], rows that wait for it or are in it; None for the first stage


@dataclass(frozen=True)
class Series:
    """What a run did over time."""

    seconds: float
    stages: list[StageSeries]


def series_of(timeline: Mapping[str, Any], path: Sequence[str]) -> Series | None:
    """Rates and queues, or None where too little was noted.

    Args:
        timeline: as `timeline.json` has it.
        path: the stages, in order.
    """
    samples = timeline.get("samples")
    if not isinstance(samples, Mapping):
        return None
    times = column(samples, "seconds")
    if times is None or len(times) < 2 or times[-1] <= 0:
        return None
    counted = {name: column(samples, f"{name}.rows") for name in path}
    known = [(name, rows) for name, rows in counted.items() if rows is not None]
    stages = []
    for before, (name, rows) in zip([None, *known], known, strict=False):
        busy = column(samples, f"{name}.seconds")
        stages.append(
            StageSeries(
                name=name,
                rows=float(rows[-1]),
                seconds=float(busy[-1]) if busy is not None else 0.0,
                rate=rates(times, rows, busy),
                queue=None if before is None else _mean(times, before[1] - rows),
            )
        )
    return Series(float(times[-1]), stages)


def column(samples: Mapping[str, Any], name: str) -> F64 | None:
    """A column of numbers; None if it is not there or is none."""
    values = samples.get(name)
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return None
    return found if found.ndim == 1 and len(found) and np.isfinite(found).all() else None


def rates(times: F64, rows: F64, busy: F64 | None, bins: int = _BINS) -> F64:
    """Rows a second in each of so many bins of the time.

    A batch is counted when it is done, but was being worked on for as long as its stage says that
    it was busy: that is where its rows belong.

    Args:
        times: [samples], seconds, rising.
        rows: [samples], how many there were so far.
        busy: [samples], seconds that the stage had worked so far.
        bins: how many.
    """
    at, count = [float(times[0])], [float(rows[0])]
    for i in range(1, len(times)):
        if rows[i] <= rows[i - 1]:
            continue
        worked = busy[i] - busy[i - 1] if busy is not None and len(busy) == len(times) else np.inf
        start = max(at[-1], float(times[i]) - max(float(worked), float(times[i] - times[i - 1])))
        at += [start, float(times[i])]
        count += [count[-1], float(rows[i])]
    at.append(max(float(times[-1]), at[-1]))
    count.append(count[-1])
    edges = np.linspace(times[0], times[-1], bins + 1)
    return np.diff(np.interp(edges, at, count)) / np.diff(edges)


def _mean(times: F64, values: F64, bins: int = _BINS) -> F64:
    """The mean of what is never below zero in each bin of the time, from one sample to the next."""
    held = np.maximum(values, 0.0)[:-1] * np.diff(times)
    area = np.concatenate([[0.0], np.cumsum(held)])
    edges = np.linspace(times[0], times[-1], bins + 1)
    return np.diff(np.interp(edges, times, area)) / np.diff(edges)
