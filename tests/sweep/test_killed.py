"""A sweep on nano that is killed half way, as by a power cut, and the same command again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
_PATIENCE_S = 600


def command(out: Path) -> list[str]:
    words = ["evaluate", str(SAMPLES / "images/manifest.jsonl"), "task=caption", "-m"]
    words += ["nested=full,small", "decode.max_new_tokens=3,12", "executor.batch=1"]
    words += ["device=cpu", "precision=float32"]
    return [sys.executable, "-m", "pipelines", *words, "-o", str(out)]


def index(out: Path) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads((out / "sweep.json").read_text())["runs"]}


def texts(out: Path) -> dict[str, list[str]]:
    return {
        str(path.parent.relative_to(out)): pq.read_table(path).column("text").to_pylist()
        for path in sorted(out.rglob("results.parquet"))
    }


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"


def until(what: Any) -> Any:
    """What a condition gives once it holds."""
    end = time.monotonic() + _PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in path.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    out, whole = tmp_path / "out", tmp_path / "whole"
    sweep = subprocess.Popen(command(out), env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    # The second of four runs has committed some of its rows, and not all.
    second = out / "nested-full_max_new_tokens-12/full/results"
    until(lambda: len(list(second.glob("part-*"))) >= 3)
    (run,) = children(sweep.pid)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.communicate()
    until(lambda: not is_alive(run))  # which nobody told but the pipe
    states = [one["code"] for one in index(out).values()]
    assert states == [0, None, None, None]
    first = (out / "nested-full_max_new_tokens-3/full/summary.json").stat().st_mtime_ns

    done = subprocess.run(command(out), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 runs in" in done.stderr
    assert "1 are finished" in done.stderr
    assert (out / "nested-full_max_new_tokens-3/full/summary.json").stat().st_mtime_ns == first
    half = json.loads((out / "nested-full_max_new_tokens-12/full/summary.json").read_text())
    assert half["earlier"] >= 3
    assert half["earlier"] + half["items"] == 12
    assert subprocess.run(command(whole), env=env, capture_output=True, check=False).returncode == 0
    assert texts(out) == texts(whole)
    assert len(texts(out)) == 4
    resumed, at_once = index(out), index(whole)
    for name, one in resumed.items():
        (row,), (other,) = one["results"], at_once[name]["results"]
        assert (one["code"], row["items"], row["failed"]) == (0, 12, 0)
        assert row["scores"] == other["scores"]
    rows = [line for line in done.stdout.splitlines() if line.split()[:1] in (["full"], ["small"])]
    assert [line.split()[:3] for line in rows] == [
        [size, tokens, "12"] for size in ("full", "small") for tokens in ("3", "12")
    ]
