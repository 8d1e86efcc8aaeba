"""Speed and memory on this machine. So far: load to first token, decode speed, memory by kind.

Every repetition is a process of its own, so that its peak is its own and nothing is warm but the
page cache.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.memory import plan_memory
from pipelines.exit_code import DONE
from pipelines.mistakes import refused_elsewhere
from pipelines.nested import nested_size
from pipelines.plan import check_context
from pipelines.settings import BenchJob

_MEMORY = ("VmHWM", "RssFile", "RssAnon")  # as the kernel calls them


def bench(job: BenchJob) -> int:
    """Measure, and print medians with the lowest and highest of all repetitions.

    Returns:
        Exit code.

    Raises:
        SettingsError: not a Linux machine, nothing to measure, no such checkpoint, size or
            precision, or a run that failed.
    """
    if not Path("/proc/self/status").exists():
        raise SettingsError("bench reads memory from /proc, which only Linux has. Run it there.")
    for name in ("prompt_tokens", "new_tokens", "repeat"):
        if (value := getattr(job, name)) < 1:
            raise SettingsError(f"{name}={value}; at least 1. Leave it out for the default.")
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    size = nested_size(job.nested, config)
    check_context("prompt_tokens and new_tokens", job.prompt_tokens + job.new_tokens, config)
    Checkpoint(job.model.path, ["text"])  # here or not at all: no run waits for a download
    wanted = {
        "folder": job.model.path,
        "nested": asdict(size),
        "budget_gb": job.nested.budget_gb,
        "precision": job.precision.value,
        "ple": job.ple.placement.value,
        "prompt_tokens": job.prompt_tokens,
        "new_tokens": job.new_tokens,
    }
    runs = [_in_own_process(wanted) for _ in range(job.repeat)]
    if job.json:
        sys.stdout.write(json.dumps({"asked": wanted, "runs": runs}, indent=2) + "\n")
    else:
        Console(markup=False, highlight=False).print(_table(job, runs))
    return DONE


def measure(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Load a checkpoint's text part, generate one row, and say what it took.

    Returns:
        The nested size; seconds, tokens a second, and bytes. `over core` is the peak less the
        weights that a token needs (all but the PLE table) and the KV cache.
    """
    began = time.perf_counter()
    import torch

    import gemma3n
    from gemma3n.generate import Prompt
    from gemma3n.sampling import Sampling

    imported = time.perf_counter()
    model = gemma3n.load(
        wanted["folder"],
        nested=NestedSize.from_skip(**wanted["nested"]),
        budget_gb=wanted["budget_gb"],
        parts=["text"],
        precision=wanted["precision"],
        device="cpu",
        ple=wanted["ple"],
    )
    loaded = time.perf_counter()
    seeded = torch.Generator().manual_seed(0)
    size = (wanted["prompt_tokens"],)
    ids = torch.randint(4, model.config.text.vocab_size_per_layer_input, size, generator=seeded)
    times: list[float] = []
    sampling = Sampling(wanted["new_tokens"], stop_ids=[])
    model.complete([Prompt(ids.tolist())], sampling, on_token=lambda *_: times.append(_now()))
    memory = _memory()
    plan = plan_memory(
        wanted["folder"],
        model.size,
        ["text"],
        str(model.dtype).removeprefix("torch."),
        wanted["ple"],
        context=wanted["prompt_tokens"] + wanted["new_tokens"],
        batch=1,
    )
    core = plan.tier("device") + plan.tier("host")
    return {
        "size": model.size_name,
        "import s": imported - began,
        "load s": loaded - imported,
        "first token s": times[0] - loaded,
        "tokens/s": (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0,
        **memory,
        "core": core,
        "over core": memory["VmHWM"] - core,
    }


def _now() -> float:
    return time.perf_counter()


def _memory() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[name].split()[0]) * 1024 for name in _MEMORY}


def _in_own_process(wanted: Mapping[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipelines.bench", json.dumps(wanted)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SettingsError(f"a run of the bench failed: {refused_elsewhere(last) or last}")
    return json.loads(done.stdout)


def _table(job: BenchJob, runs: list[dict[str, Any]]) -> Table:
    table = Table(
        title=f"{job.model.path}, size {runs[0]['size']}: text, one row, {job.prompt_tokens} "
        f"prompt tokens and {job.new_tokens} new ones, {job.repeat} runs",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("what")
    for name in ("median", "lowest", "highest"):
        table.add_column(name, justify="right")
    for what in (name for name in runs[0] if name != "size"):
        values = [run[what] for run in runs]
        is_bytes = not what.endswith("s") and "/" not in what
        shown = (f"{v / 1e6:,.0f} MB" if is_bytes else f"{v:.2f}" for v in _spread(values))
        table.add_row(what, *shown)
    return table


def _spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
