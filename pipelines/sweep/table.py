"""The runs of a sweep side by side."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemma3n.readable import bytes_text
from pipelines.exit_code import DONE, INTERRUPTED, ROWS_FAILED
from pipelines.show import visible
from pipelines.sweep.index import Entry, Index

_METRICS = {"wer": "WER %", "cer": "CER %", "exact": "exact %", "f1": "token F1 %"}
_SAID = {"bleu": "BLEU", "chrf": "chrF"}  # of 100, and yet no percent
_RATES = {"items_per_s": "items/s", "audio_per_s": "x real time", "tokens_per_s": "tokens/s"}
_UNFINISHED = "-"


def table_of(index: Index) -> Table:
    """A row each run, and of each nested size where a run has several."""
    rows = [(run, row) for run in index.runs for row in run.results or [{}]]
    metrics = _metrics([row for _, row in rows])
    has_sizes = "nested" not in index.axes and any(row.get("size") for _, row in rows)
    rates = [name for name in _RATES if any(row.get(name) for _, row in rows)]
    table = Table(
        title=f"{index.job}, {len(index.runs)} runs"
        + (": 95 % intervals over rows in brackets" if metrics else ""),
        box=SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    for name in index.axes:
        table.add_column(visible(name), overflow="fold")
    if has_sizes:
        table.add_column("size")
    counts = ["items", "failed", "seconds", *(_RATES[name] for name in rates)]
    has_hits = any(name.startswith("ple.cache") for name in index.axes)
    hits = ["PLE hits %"] if has_hits else []
    for name in [*counts, *hits, *metrics.values(), "peak memory", "code"]:
        table.add_column(name, justify="right", no_wrap=True)
    for run, row in rows:
        cells = [visible(run.differs.get(name, "")) for name in index.axes]
        cells += [row.get("size") or _UNFINISHED] if has_sizes else []
        cells += [_number(row.get("items")), _number(row.get("failed"))]
        cells += [_rate(row.get("seconds"))] + [_rate(row.get(name)) for name in rates]
        cells += [_percent(row.get("ple_hit_rate"))] if has_hits else []
        cells += [_score(row, metric) for metric in metrics]
        cells += [bytes_text(row["peak_rss_bytes"]) if row.get("peak_rss_bytes") else _UNFINISHED]
        table.add_row(*cells, _ended(run))
    return table


def errors_of(index: Index) -> list[str]:
    """A line each run that did not finish, with its reason."""
    return [f"{run.name}: {visible(run.error)}" for run in index.runs if run.error]


def _metrics(rows: list[dict[str, Any]]) -> dict[str, str]:
    found = dict.fromkeys(metric for row in rows for metric in row.get("shown", []))
    names = {**_METRICS, **_SAID}
    return {metric: names.get(metric, f"{metric} %") for metric in found}


def _score(row: Mapping[str, Any], metric: str) -> str:
    one = row.get("scores", {}).get(metric) or {}
    value, low, high = (
        None if one.get(name) is None else f"{100 * one[name]:.1f}"
        for name in ("value", "low", "high")
    )
    return f"{value} [{low} {high}]" if value and low and high else value or _UNFINISHED


def _ended(run: Entry) -> str:
    if run.code is None:
        return "not begun" if not run.results else "not done"
    return {DONE: "0", ROWS_FAILED: "3", INTERRUPTED: "interrupted"}.get(run.code, f"{run.code}")


def _percent(share: float | None) -> str:
    return _UNFINISHED if share is None else f"{100 * share:.1f}"


def _number(value: Any) -> str:
    return _UNFINISHED if value is None else str(value)


def _rate(value: float | None) -> str:
    if value is None:
        return _UNFINISHED
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
