"""Load to first token, decode speed and memory by kind, of one row of text.

Every repetition is a process of its own, so that its peak is its own and nothing is warm but the
page cache.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.memory import plan_memory
from gemma3n.placement import Ple
from pipelines.bench.command import check_proc
from pipelines.bench.cost import resident_bytes
from pipelines.bench.table import Bench
from pipelines.mistakes import refused_elsewhere
from pipelines.nested import nested_size
from pipelines.plan import check_context
from pipelines.settings import BenchJob


class KilledError(SettingsError):
    """A run that the system ended at once, as it does where there is no memory left."""


def bench_decode(job: BenchJob) -> Bench:
    """Measure, each repetition in a process of its own.

    Raises:
        SettingsError: not a Linux machine, no such checkpoint, size or precision, or a run that
            failed.
    """
    check_proc()
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
        "pack": job.pack.value,
        "compile": job.compile,
        "ple": asdict(job.ple.anywhere().load),
        "prompt_tokens": job.prompt_tokens,
        "new_tokens": job.new_tokens,
    }
    runs = [run_apart("pipelines.bench.decode", wanted) for _ in range(job.repeat)]
    title = (
        f"{job.model.path}, size {runs[0]['size']}: text, one row, {job.prompt_tokens} "
        f"prompt tokens and {job.new_tokens} new ones, {job.repeat} runs"
    )
    return Bench(title, wanted, runs)


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
    placed = Ple(**wanted["ple"])
    model = gemma3n.load(
        wanted["folder"],
        nested=NestedSize.from_skip(**wanted["nested"]),
        budget_gb=wanted["budget_gb"],
        parts=["text"],
        precision=wanted["precision"],
        pack=wanted["pack"],
        compile=wanted["compile"],
        device="cpu",
        ple=placed,
    )
    loaded = time.perf_counter()
    seeded = torch.Generator().manual_seed(0)
    size = (wanted["prompt_tokens"],)
    ids = torch.randint(4, model.config.text.vocab_size_per_layer_input, size, generator=seeded)
    prompt, times = Prompt(ids.tolist()), list[float]()
    if wanted["compile"]:  # a graph is compiled where it is first needed: for a prompt, for a token
        model.complete([prompt], Sampling(2, stop_ids=[]))
    compiled = time.perf_counter()
    sampling = Sampling(wanted["new_tokens"], stop_ids=[])
    model.complete([prompt], sampling, on_token=lambda *_: times.append(_now()))
    memory = resident_bytes()
    plan = plan_memory(
        wanted["folder"],
        model.size,
        ["text"],
        model.formats.weights.value,
        placed,
        context=wanted["prompt_tokens"] + wanted["new_tokens"],
        batch=1,
        pack=model.formats.pack,
    )
    core = plan.tier("device") + plan.tier("host") - plan.activations
    return {
        "size": model.size_name,
        "import s": imported - began,
        "load s": loaded - imported,
        **({"compile s": compiled - loaded} if wanted["compile"] else {}),
        "first token s": times[0] - compiled,
        "tokens/s": (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0,
        **memory,
        "core": core,
        "over core": memory["VmHWM"] - core,
    }


def _now() -> float:
    return time.perf_counter()


def run_apart(
    module: str,
    wanted: Mapping[str, Any],
    python: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a module says that it measured, in a process of its own.

    Args:
        module: to run, with `wanted` as its only word; it prints JSON.
        wanted: what it is told.
        python: interpreter, if not ours.
        environment: of the process, if not ours.

    Raises:
        KilledError: the system killed that process.
        SettingsError: it failed.
    """
    command = [str(python or sys.executable), "-m", module, json.dumps(wanted)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode == -signal.SIGKILL:
        raise KilledError("a run of the bench was killed, as for want of memory. Ask for less.")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SettingsError(f"a run of the bench failed: {refused_elsewhere(last) or last}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
