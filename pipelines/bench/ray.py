"""The Ray executor against one process, its start-up, and its driver's memory.

Every run is a command of its own, as a user would give it; what it did is read from its run folder.
"""

import os
from pathlib import Path

import numpy as np

from pipelines.bench.command import Run, bench_folder, run_command
from pipelines.bench.ray_run import pretended_job, pretended_rows
from pipelines.bench.table import Bench
from pipelines.settings import BenchJob
from stages.audio import RATE

_CLIP_S, _SOUNDS = 2, 16  # seconds of a clip; so many different ones
_BATCH = 8


def bench_ray(job: BenchJob) -> Bench:
    """Clips through a checkpoint, by Ray and in one process, on all cores of this machine."""
    runs = []
    with bench_folder() as folder:
        source = _clips(folder / "clips", job.files)
        words = ["transcribe", str(source), f"model={job.model.path}", "decode.max_new_tokens=8"]
        words += [f"precision={job.precision.value}", f"executor.batch={_BATCH}", "device=cpu"]
        for number in range(job.repeat):
            alone = run_command([*words, "-o", str(folder / f"alone{number}")], folder)
            spread = run_command(
                [*words, "-o", str(folder / f"ray{number}"), "executor=ray"], folder
            )
            rates = [job.files / one.past_start for one in (spread, alone)]
            runs.append(
                {
                    "items/s": rates[0],
                    "items/s, one process": rates[1],
                    "Ray to one process": rates[0] / rates[1],
                    "start-up s": sum(spread.start.values()),
                    **{f"of it {name}": seconds for name, seconds in spread.start.items()},
                    "start-up s, one process": sum(alone.start.values()),
                    "driver, peak": spread.summary["peak_rss_bytes"],
                    **_crossing(spread),
                }
            )
    title = f"{job.files} clips of {_CLIP_S} s, {job.model.path}, {os.cpu_count()} cores"
    return Bench(title, {"files": job.files, "model": job.model.path}, runs)


def bench_ray_memory(job: BenchJob) -> Bench:
    """Memory of the driver over light rows that no model touches."""
    runs = []
    with bench_folder() as folder:
        source = pretended_rows(folder / "rows.jsonl", job.files)
        words = pretended_job(source, "pretend_text")
        words += [f"executor.pools.{pool}.batch=256" for pool in ("read", "decode", "write")]
        for number in range(job.repeat):
            one = run_command([*words, "-o", str(folder / f"out{number}")], folder)
            while_it_ran = [look.bytes for look in one.looks_past_start]
            third = max(1, len(while_it_ran) // 3)
            runs.append(
                {
                    "rows/s": job.files / one.past_start,
                    "driver, first third": int(np.median(while_it_ran[:third])),
                    "driver, last third": int(np.median(while_it_ran[-third:])),
                    "driver, peak": max(look.bytes for look in one.looks),
                    "driver, CPU us a row": 1e6 * one.cpu / job.files,
                }
            )
    return Bench(f"{job.files} light rows", {"files": job.files}, runs)


def _crossing(run: Run) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, boundary in run.summary["boundaries"].items():
        found[f"{name}, kB a row"] = boundary["bytes_per_row"] / 1e3
        found[f"{name}, us a row"] = boundary["microseconds_per_row"]
    return found


def _clips(folder: Path, count: int) -> Path:
    """So many files of a few different sounds, which speech is not."""
    import soundfile

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:06d}.wav"
        if number < _SOUNDS:
            loudness = np.repeat(rng.choice([0.05, 0.2], _CLIP_S * 10), RATE // 10)
            wave = loudness * rng.standard_normal(len(loudness))
            soundfile.write(path, wave.clip(-1, 1).astype(np.float32), RATE)
        else:
            os.link(folder / f"{number % _SOUNDS:06d}.wav", path)
    return folder
