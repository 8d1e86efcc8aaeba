"""The Ray executor against one process, its start-up, its driver's memory, and how far it scales.

Every run is a command of its own, as a user would give it; what it did is read from its run folder.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gemma3n.errors import SettingsError
from pipelines.bench.table import Bench, Lines
from pipelines.pretend import TOKENS, WIDTH, installed
from pipelines.settings import BenchJob
from stages.audio import RATE

_CLIP_S, _SOUNDS = 2, 16  # seconds of a clip; so many different ones
_BATCH = 8
_SAMPLE_S = 0.5  # between two looks at the driver's memory
_TASK = 64  # items of a task, as in the examples for clusters
_ENCODERS = 8  # decoders that one encoder feeds
_NEVER = 1_000_000  # seconds: no time-out


@dataclass(frozen=True)
class Look:
    """At a process, without its children."""

    at: float  # seconds since its start
    bytes: int
    cpu: float  # seconds that it has computed


@dataclass
class Run:
    """One command."""

    wall: float  # seconds of the whole process
    before: float  # of it, until it knew its settings and its checkpoint
    summary: dict[str, Any]
    looks: list["Look"]

    @property
    def start(self) -> dict[str, float]:
        """Seconds until rows go through it, by what they are spent on."""
        spent, pools = self.summary["stage_seconds"], self.summary["pools"].values()
        parts = {
            "imports and settings s": self.before,
            "cluster s": spent.get("start", 0.0),
            "list s": spent.get("list", 0.0),
            "pools s": max((pool["ready_seconds"] for pool in pools), default=0.0),
            "load s": 0.0 if pools else spent.get("load", 0.0),
        }
        return {name: seconds for name, seconds in parts.items() if seconds}

    @property
    def past_start(self) -> float:
        """Seconds from then on."""
        own = sum(self.start.values()) - self.before
        seconds: float = self.summary["seconds"] - own
        return max(seconds, 1e-9)

    @property
    def looks_past_start(self) -> list[Look]:
        """At the driver while rows went through it, the first just before."""
        began = sum(self.start.values())
        later = [look for look in self.looks if look.at >= began]
        before = [look for look in self.looks if look.at < began]
        return [*before[-1:], *later]

    @property
    def cpu(self) -> float:
        """Seconds that the driver computed for the rows, not for its start."""
        looks = self.looks_past_start
        return looks[-1].cpu - looks[0].cpu if looks else 0.0


def bench_ray(job: BenchJob) -> Bench:
    """Clips through a checkpoint, by Ray and in one process, on all cores of this machine."""
    runs = []
    with _folder() as folder:
        source = _clips(folder / "clips", job.files)
        words = ["transcribe", str(source), f"model={job.model.path}", "decode.max_new_tokens=8"]
        words += [f"precision={job.precision.value}", f"executor.batch={_BATCH}", "device=cpu"]
        for number in range(job.repeat):
            alone = _run([*words, "-o", str(folder / f"alone{number}")], folder)
            spread = _run([*words, "-o", str(folder / f"ray{number}"), "executor=ray"], folder)
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
    with _folder() as folder:
        source = _rows(folder / "rows.jsonl", job.files, 0.0, 0.0)
        words = [*_pretended(source, "pretend_text"), "executor.items_a_task=256"]
        words += [f"executor.pools.{pool}.batch=256" for pool in ("read", "decode", "write")]
        for number in range(job.repeat):
            one = _run([*words, "-o", str(folder / f"out{number}")], folder)
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


def bench_ray_scale(job: BenchJob) -> Lines:
    """Workers that sleep for a model's time, more and more of them.

    Raises:
        SettingsError: no workers, or no time.
    """
    if not job.workers or min(job.workers) < 1:
        raise SettingsError(f"workers={job.workers}; at least one, of 1 or more each.")
    if job.batch_s <= 0:
        raise SettingsError(f"batch_s={job.batch_s}; more than 0. Leave it out for the default.")
    runs = []
    with _folder() as folder:
        for workers in job.workers:
            batches = max(1, round(job.seconds / job.batch_s))
            rows = workers * batches * _BATCH
            encoders = max(1, workers // _ENCODERS)
            encode_s = job.batch_s * encoders / workers / 2  # half as long as the decoders take
            source = _rows(folder / f"{workers}.jsonl", rows, encode_s, job.batch_s)
            words = [*_pretended(source, "pretend_encode", "pretend_decode")]
            words += [f"executor.items_a_task={_TASK}", f"executor.row_timeout_s={_NEVER}"]
            words += [f"executor.pools.{p}.num_cpus=0.01" for p in ("read", "encode", "decode")]
            for pool, count in (("encode", encoders), ("decode", workers), ("read", 1)):
                words += [f"executor.pools.{pool}.{end}={count}" for end in ("max", "min")]
                words += [f"executor.pools.{pool}.batch={_BATCH}"]
            one = _run([*words, "-o", str(folder / f"out{workers}")], folder)
            ideal, pools = batches * job.batch_s, one.summary["pools"]
            runs.append(
                {
                    "workers": workers,
                    "rows/s": rows / one.past_start,
                    "efficiency": ideal / one.past_start,
                    "decoders busy": pools["decode"]["busy"],
                    "encoders busy": pools["encode"]["busy"],
                    "read busy": pools["read"]["busy"],
                    "write busy": pools["write"]["busy"],
                    "MB/s to decoders": pools["decode"]["bytes_in"] / one.past_start / 1e6,
                    "driver, CPU ms a batch": 1e3 * one.cpu / (rows / _BATCH),
                    # So many decoders would keep one core of the driver busy.
                    "decoders a driver feeds": job.batch_s / max(one.cpu / (rows / _BATCH), 1e-9),
                    "start-up s": sum(one.start.values()),
                }
            )
    size = TOKENS * WIDTH * 4
    title = (
        f"decoders that take {job.batch_s:g} s for {_BATCH} rows of {size / 1e6:.2f} MB, an encoder"
        f" for {_ENCODERS}, all on {os.cpu_count()} cores"
    )
    asked = {"batch_s": job.batch_s, "batch": _BATCH, "row_bytes": size}
    return Lines(title, asked, runs, word=lambda value: f"{value:,.3g}")


def _crossing(run: Run) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, boundary in run.summary["boundaries"].items():
        found[f"{name}, kB a row"] = boundary["bytes_per_row"] / 1e3
        found[f"{name}, us a row"] = boundary["microseconds_per_row"]
    return found


def _pretended(source: Path, *stages: str) -> list[str]:
    path = ",".join(("read", *stages, "write"))
    words = ["generate", str(source), f"path=[{path}]", "source.media=[]", "device=cpu"]
    words += ["executor=ray", "sink.formats=[]", f"executor.pools.decode.stages=[{stages[-1]}]"]
    return words + [f"executor.pools.encode.stages=[{stage}]" for stage in stages[:-1]]


def _run(words: Sequence[str], folder: Path) -> Run:
    """Give a command, and look at its memory meanwhile."""
    out = Path(words[words.index("-o") + 1])
    here = Path(__file__).parents[1]
    paths = [str(folder / "site"), str(here), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    start = time.time()
    looks: list[Look] = []
    with (folder / "stderr").open("w+") as said:
        command = [sys.executable, "-m", "pipelines", *words, "fresh=true"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            if seen := _looked_at(process.pid):
                looks.append(Look(time.time() - start, *seen))
            time.sleep(_SAMPLE_S)
        if process.returncode:
            said.seek(0)
            last = (said.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise SettingsError(f"a run of the bench failed: {last.removeprefix('gemma3n: ')}")
    wall = time.time() - start
    summary = json.loads((out / "summary.json").read_text())
    began = (out / "run.log").read_text().partition(" INFO ")[0]
    before = datetime.strptime(began, "%Y-%m-%d %H:%M:%S,%f").timestamp() - start
    return Run(wall, before, summary, looks)


def _looked_at(pid: int) -> tuple[int, float] | None:
    """Bytes that a process has, and seconds that it computed; None if it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        times = (folder / "stat").read_text().rpartition(") ")[2].split()[11:13]
    except OSError:
        return None
    if "VmRSS" not in status:  # it has just ended
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return int(status["VmRSS"].split()[0]) * 1024, sum(map(int, times)) / ticks


@contextmanager
def _folder() -> Iterator[Path]:
    if not Path("/proc/self/status").exists():
        raise SettingsError("bench what=ray reads memory from /proc, which only Linux has.")
    with tempfile.TemporaryDirectory() as name:
        installed(Path(name) / "site")
        yield Path(name)


def _rows(path: Path, count: int, encode_s: float, decode_s: float) -> Path:
    line = json.dumps({"prompt": f"{encode_s:.6f} {decode_s:.6f}"}) + "\n"
    with path.open("w") as file:
        file.writelines(line for _ in range(count))
    return path


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
