"""What a run measured -> one line on what to try next, where the numbers say so; else nothing.

A hint names the setting to change. Which one comes first is a matter of what it would save.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from gemma3n.choices import ROUNDED
from gemma3n.limits import total_memory, usable_cores
from gemma3n.matformer import FULL_SIZE
from gemma3n.readable import bytes_text
from pipelines.progress import Summary
from pipelines.settings import ExecutorKind, PathJob

logger = logging.getLogger(__name__)

# A run of fewer tells little of another one.
_SECONDS, _ITEMS = 10.0, 8
_LIMITS = 0.5  # a stage that takes so much of the time is what limits a run
_WAITS = 0.25  # so much of the time spent on waiting is worth a thread
_TIGHT = 0.85  # of the memory: the next larger file may be one too large
_LARGE = 2e9  # bytes of memory, of a model whose decoding is mostly reading weights
_MOST_ROWS = 32  # at once; more gains little, and each has a KV cache
_LONG = 300.0  # seconds that are worth a minute of compiling
_ENOUGH_ROWS, _MARGIN = 100, 0.02  # of an evaluation: what "as good" means


def tell_hint(job: PathJob, summary: Summary) -> None:
    """Log the hint of a run that ended, if there is one."""
    if hint := hint_of(job, summary, usable_cores(), total_memory()):
        logger.info("to try next: %s", hint)


def hint_of(job: PathJob, summary: Summary, cores: int, memory: int) -> str | None:
    """One line, or None.

    Args:
        job: what was run.
        summary: what it measured.
        cores: that this process may use.
        memory: bytes that it may use.
    """
    enough = summary.seconds >= _SECONDS and summary.items >= _ITEMS
    if not enough or job.executor.kind is not ExecutorKind.in_process:
        return None
    hints: tuple[Callable[[], str | None], ...] = (
        lambda: _memory(job, summary, memory),
        lambda: _loading(summary),
        lambda: _reading(job, summary, cores),
        lambda: _batch(job, summary, memory),
        lambda: _pictures(job, summary),
        lambda: _precision(job, summary),
        lambda: _compiling(job, summary),
        lambda: _size(job, summary),
    )
    return next((hint for make in hints if (hint := make())), None)


def hint_of_scores(found: Mapping[str, Any], metric: str) -> str | None:
    """The smallest nested size that did as well as the first, by an evaluation over enough rows.

    As well means: with 95 % confidence not worse by more than two points.

    Args:
        found: what `scores.json` holds.
        metric: that counts.
    """
    fewer_is_better = metric in found["lower_is_better"]
    sets, over = found["sets"], found["over"]
    by_size = sets.get("all rows") or next(iter(sets.values()))
    seconds = {size: run["seconds"] for size, run in found["runs"].items() if run["seconds"]}
    if over not in seconds:
        return None
    for size in sorted(seconds, key=seconds.__getitem__):
        if size == over or size not in by_size or by_size[size]["rows"] < _ENOUGH_ROWS:
            continue
        change = by_size[size]["difference"][metric]
        bound = change["high"] if fewer_is_better else change["low"]
        worse = None if bound is None else bound if fewer_is_better else -bound
        if worse is not None and worse <= _MARGIN and seconds[size] < seconds[over]:
            low, high = 100 * change["low"], 100 * change["high"]
            return (
                f"nested={size} did as well as {over} here ({metric} {100 * change['value']:+.1f} "
                f"points, {low:+.1f} to {high:+.1f}) in {seconds[size] / seconds[over]:.0%} of the "
                "time"
            )
    return None


def _share(summary: Summary, *stages: str) -> float:
    return sum(summary.stage_seconds.get(name, 0.0) for name in stages) / summary.seconds


def _memory(job: PathJob, summary: Summary, memory: int) -> str | None:
    batch = job.executor.batch
    if summary.peak_rss_bytes < _TIGHT * memory or batch == 1:
        return None
    return (
        f"executor.batch={batch // 2}, for memory was tight: {bytes_text(summary.peak_rss_bytes)} "
        f"of {bytes_text(memory)}"
    )


def _loading(summary: Summary) -> str | None:
    share = _share(summary, "load")
    if share < _LIMITS:
        return None
    return f"more files a command, for loading the model took {share:.0%} of the time"


def _reading(job: PathJob, summary: Summary, cores: int) -> str | None:
    share = summary.waited_seconds / summary.seconds
    readers = job.executor.readers
    if share < _WAITS or readers >= cores:
        return None
    return (
        f"executor.readers={min(cores, 2 * readers)}, for the model waited {share:.0%} of the time "
        "for files to be read"
    )


def _batch(job: PathJob, summary: Summary, memory: int) -> str | None:
    share, batch = _share(summary, "decode"), job.executor.batch
    more = 2 * batch
    has_room = 2 * summary.peak_rss_bytes < memory
    if share < _LIMITS or more > _MOST_ROWS or summary.rows < 2 * more or not has_room:
        return None
    return f"executor.batch={more}, for decoding took {share:.0%} of the time, {batch} rows at once"


def _pictures(job: PathJob, summary: Summary) -> str | None:
    share, sides = _share(summary, "encode"), job.resize.resolution.name
    if share < _LIMITS or not summary.images or not sides.isdigit() or int(sides) <= 256:
        return None
    return (
        f"resize.resolution=256, for encoding took {share:.0%} of the time, and a picture of "
        f"{sides} pixels a side is {(int(sides) / 256) ** 2:.0f} of those"
    )


def _precision(job: PathJob, summary: Summary) -> str | None:
    share = _share(summary, "decode")
    if share < _LIMITS or summary.peak_rss_bytes < _LARGE or job.precision in ROUNDED:
        return None
    return (
        f"precision=int8, for decoding took {share:.0%} of the time, which with a large model is "
        "mostly reading weights"
    )


def _compiling(job: PathJob, summary: Summary) -> str | None:
    share = _share(summary, "decode")
    if job.compile or share < _LIMITS or summary.seconds < _LONG:
        return None
    return (
        f"compile=true, for decoding took {share:.0%} of {summary.seconds / 60:.0f} minutes, and "
        "compiling takes one"
    )


def _size(job: PathJob, summary: Summary) -> str | None:
    nested, share = job.nested, _share(summary, "decode")
    chosen = nested.layers or nested.widths or nested.budget_gb
    if share < _LIMITS or nested.name != FULL_SIZE.name or chosen:
        return None
    return (
        f"nested=small, for decoding took {share:.0%} of the time; `gemma3n evaluate` says on "
        "labelled rows what it loses"
    )
