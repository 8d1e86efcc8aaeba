"""How far the Ray executor scales: more and more decoders that sleep for a model's time.

What computes here is the executor alone, so a machine without GPUs shows where it ends. What that
means for GPUs and nodes that nobody has at hand is reckoned from the driver's time a row.
"""

import math
import os
from statistics import median
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.bench.command import Run, bench_folder, run_command
from pipelines.bench.ray_run import pretended_job, pretended_rows
from pipelines.bench.table import Lines
from pipelines.pretend import WIDTH
from pipelines.settings import BenchJob

_BATCH = 8
_TASK = 8  # batches of a task at the most, as in the examples for clusters
_TASKS = 8  # of each decoder at the least, where it has so many batches: the last one is short
_ENCODERS = 8  # decoders that one encoder feeds
_NEVER = 1_000_000  # seconds: no time-out
_NODES = 1000
# Bytes a second of a GPU's memory, from its maker's data sheet. A step of decoding reads every
# weight once, so with few rows it takes their bytes by this: E4B has four thousand million that
# work at a time, two bytes each in bfloat16.
_GPUS = {"L4": 300e9, "A100 80 GB": 2039e9, "H100": 3350e9}
_WEIGHTS = 8e9


def bench_ray_scale(job: BenchJob) -> Lines:
    """A run for each number of decoders and each size of row.

    Raises:
        SettingsError: no decoders, no rows of a size, or no time.
    """
    if not job.workers or min(job.workers) < 1:
        raise SettingsError(f"workers={job.workers}; at least one, of 1 or more each.")
    if not job.soft_tokens or min(job.soft_tokens) < 1:
        raise SettingsError(f"soft_tokens={job.soft_tokens}; at least one, of 1 or more each.")
    if job.batch_s <= 0:
        raise SettingsError(f"batch_s={job.batch_s}; more than 0. Leave it out for the default.")
    runs, driver_s = [], []
    batches = max(1, round(job.seconds / job.batch_s))
    with bench_folder() as folder:
        for tokens in job.soft_tokens:
            for workers in job.workers:
                rows = workers * batches * _BATCH
                encoders = max(1, workers // _ENCODERS)
                encode_s = job.batch_s * encoders / workers / 2  # half as long as decoders take
                name = f"{workers}-{tokens}"
                source = pretended_rows(
                    folder / f"{name}.jsonl", rows, encode_s, job.batch_s, tokens
                )
                words = [*pretended_job(source, "pretend_encode", "pretend_decode")]
                words.append(f"executor.items_a_task={_items_a_task(batches)}")
                words.append(f"executor.row_timeout_s={_NEVER}")
                words += [f"executor.pools.{p}.num_cpus=0.01" for p in ("read", "encode", "decode")]
                for pool, count in (("encode", encoders), ("decode", workers), ("read", 1)):
                    words += [f"executor.pools.{pool}.{end}={count}" for end in ("max", "min")]
                    words += [f"executor.pools.{pool}.batch={_BATCH}"]
                # Else rows would go through the first decoders while others still start.
                wait = {"RAY_DATA_DEFAULT_WAIT_FOR_MIN_ACTORS_S": "600"}
                one = run_command([*words, "-o", str(folder / name)], folder, wait)
                driver_s.append(one.cpu / rows)
                runs.append(_figures(one, workers, tokens, rows, batches * job.batch_s))
    size = WIDTH * 4
    title = (
        f"decoders that take {job.batch_s:g} s for {_BATCH} rows of {size / 1e3:.1f} kB a soft "
        f"token, an encoder for {_ENCODERS}, all on {os.cpu_count()} cores"
    )
    asked = {"batch_s": job.batch_s, "batch": _BATCH, "soft_token_bytes": size}
    notes = list(_on_paper(median(driver_s), job.new_tokens))
    return Lines(title, asked, runs, word=_word, notes=notes)


def _items_a_task(batches: int) -> int:
    """Items that go through together, for decoders that have so many batches each."""
    return _BATCH * max(1, min(_TASK, batches // _TASKS))


def _figures(one: Run, workers: int, tokens: int, rows: int, ideal_s: float) -> dict[str, Any]:
    pools = one.summary["pools"]
    busy = {
        "cores": one.cores_busy,
        "driver": one.cpu / one.past_start,
        **{name: pools[name]["busy"] for name in ("read", "encode", "write")},
    }
    most = max(busy, key=busy.__getitem__)
    return {
        "decoders": workers,
        "soft tokens": tokens,
        "rows/s": rows / one.past_start,
        "efficiency": ideal_s / one.past_start,
        "busiest of the others": f"{most} {busy[most]:.0%}",
        **{f"{name} busy": share for name, share in busy.items()},
        "MB/s to decoders": pools["decode"]["bytes_in"] / one.past_start / 1e6,
        "driver, ms a row": 1e3 * one.cpu / rows,
        "start-up s": sum(one.start.values()),
    }


def _on_paper(driver_s: float, new_tokens: int) -> list[str]:
    """What follows for real decoders, one a node.

    Args:
        driver_s: seconds that the driver computes for a row.
        new_tokens: of a row.
    """
    batch_s = {gpu: new_tokens * _WEIGHTS / speed for gpu, speed in _GPUS.items()}
    a_core = {gpu: seconds / max(driver_s * _BATCH, 1e-9) for gpu, seconds in batch_s.items()}
    feeds = ", ".join(f"{a_core[gpu]:,.0f} of {gpu} ({batch_s[gpu]:.2f} s)" for gpu in _GPUS)
    runs = ", ".join(f"{math.ceil(_NODES / a_core[gpu])} of {gpu}" for gpu in _GPUS)
    return [
        f"The driver computes {1e3 * driver_s:.2f} ms a row. E4B reads 8 GB a step, so {_BATCH} "
        f"rows of {new_tokens} tokens take a GPU at least as long as its memory does; one core of "
        f"the driver feeds so many: {feeds}.",
        f"On paper {_NODES:,} nodes of one such GPU need so many runs at once, each over a part "
        f"of the source: {runs}.",
    ]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,.3g}"
