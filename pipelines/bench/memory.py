"""Memory of one row of text, of a picture, of a clip, and of all of them, against what `plan` says.

Each is run twice, in processes of their own: once free, for its peak and for what it holds by
kind, and once inside a control group that allows no more than was planned, where it has to come to
its end.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gemma3n.activations import FRAMES_A_SOFT_TOKEN, Media
from gemma3n.checkpoint import Checkpoint
from gemma3n.choices import Precision
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.memory import plan_memory
from gemma3n.placement import Ple
from gemma3n.readable import bytes_text
from pipelines.bench.cost import resident_bytes
from pipelines.bench.decode import KilledError, run_apart
from pipelines.bench.table import Lines
from pipelines.cgroup import Group, limited
from pipelines.nested import nested_size
from pipelines.plan_fit import SPARE
from pipelines.settings import BenchJob
from stages.resize import checkpoint_resolution

_TASKS = {
    "text": ("text",),
    "text, picture": ("text", "vision"),
    "text, clip": ("text", "audio"),
    "text, picture, clip": ("text", "vision", "audio"),
}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return bytes_text(value) if isinstance(value, int) else f"{value:.2f}"


def bench_memory(job: BenchJob) -> Lines:
    """Measure.

    Each nested size in each precision, each task of it.

    Raises:
        SettingsError: no such checkpoint, size or precision, no control groups here, or a run that
            failed for another reason than memory.
    """
    if job.precision is not Precision.auto:
        raise SettingsError(
            f"precision={job.precision.value}, but memory is measured in each of precisions. "
            f"Set precisions=[{job.precision.value}]."
        )
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    sizes = [nested_size(replace(job.nested, name=name), config) for name in job.sizes]
    runs = [
        {"task": task, "size": size.label, "precision": precision.value}
        | _measured(job, size, precision, parts)
        for size in sizes or [nested_size(job.nested, config)]
        for precision in job.precisions
        for task, parts in _tasks(config).items()
    ]
    title = (
        f"{job.model.path}: one row, {job.prompt_tokens} tokens of text and {job.new_tokens} new "
        f"ones, encode.precision={job.encode.precision.value}"
    )
    return Lines(title, {"model": job.model.path}, runs, word=_shown)


def _tasks(config: Config) -> dict[str, tuple[str, ...]]:
    """Those that the checkpoint has all parts for."""
    there = {"text": True, "vision": config.vision, "audio": config.audio}
    return {
        task: parts
        for task, parts in _TASKS.items()
        if all(there[part] is not None for part in parts)
    }


def _measured(
    job: BenchJob, size: NestedSize, precision: Precision, parts: tuple[str, ...]
) -> dict[str, Any]:
    """One cell: free, and in no more than was planned."""
    Checkpoint(job.model.path, list(parts))  # here or not at all: no run waits for a download
    wanted = {
        "folder": job.model.path,
        "nested": asdict(size),
        "parts": parts,
        "precision": precision.value,
        "pack": job.pack.value,
        "ple": asdict(job.ple.anywhere().load),
        "prompt_tokens": job.prompt_tokens,
        "new_tokens": job.new_tokens,
        "towers": job.encode.precision.value,
        "pixels": checkpoint_resolution(job.model.folder),
        "group": None,
    }
    free = run_apart("pipelines.bench.memory", wanted)
    return free | {"in what was planned": _confined(wanted, free) if job.memory_gb else "not tried"}


def _confined(wanted: Mapping[str, Any], free: Mapping[str, Any]) -> str:
    """Whether the same comes to its end in no more memory than was planned for it."""
    with limited(free["planned"]) as group:
        where = {"folder": str(group.folder), "peak_name": group.peak_name}
        try:
            run_apart("pipelines.bench.memory", {**wanted, "group": where})
        except KilledError:
            return "killed"
    return "done"


def measure(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Load, answer one row, and say what it was planned to take and took."""
    if wanted["group"] is not None:
        Group(Path(wanted["group"]["folder"]), wanted["group"]["peak_name"]).join()
    import torch

    import gemma3n
    from gemma3n.generate import Prompt
    from gemma3n.sampling import Sampling

    placed = Ple(**wanted["ple"])
    model = gemma3n.load(
        wanted["folder"],
        nested=NestedSize.from_skip(**wanted["nested"]),
        parts=wanted["parts"],
        precision=wanted["precision"],
        pack=wanted["pack"],
        device="cpu",
        ple=placed,
        towers=wanted["towers"],
    )
    drawn = torch.Generator().manual_seed(0)
    vocab = model.config.text.vocab_size_per_layer_input
    ids: list[int] = torch.randint(4, vocab, (wanted["prompt_tokens"],), generator=drawn).tolist()
    images: Sequence[torch.Tensor] = ()
    audio: Sequence[torch.Tensor] = ()
    with torch.inference_mode():
        if "vision" in wanted["parts"]:
            shape = (1, 3, wanted["pixels"], wanted["pixels"])
            images = list(model.encode_images(torch.rand(shape, generator=drawn)))
            ids += [model.config.image_token_id] * len(images[0])
        if model.config.audio is not None and "audio" in wanted["parts"]:
            frames = FRAMES_A_SOFT_TOKEN * model.config.audio_soft_tokens_per_image
            bins = model.config.audio.input_feat_size
            audio = model.encode_audio([torch.randn(frames, bins, generator=drawn)])
            ids += [model.config.audio_token_id] * len(audio[0])
        fused = model.fuse(ids, audio, images)
        model.complete([Prompt(ids, fused)], Sampling(wanted["new_tokens"], stop_ids=[]))
    plan = plan_memory(
        wanted["folder"],
        model.size,
        wanted["parts"],
        model.formats.weights.value,
        placed,
        context=len(ids) + wanted["new_tokens"],
        batch=1,
        pack=model.formats.pack,
        towers=wanted["towers"],
        media=Media(wanted["pixels"]),
    )
    found = resident_bytes()
    planned = plan.tier("device") + plan.tier("host") + SPARE
    return {
        "planned": planned,
        "peak": found["VmHWM"],
        "peak to planned": found["VmHWM"] / planned,
        "weights and KV cache, planned": planned - SPARE - plan.activations,
        "activations, planned": plan.activations,
        "anonymous at the end": found["RssAnon"],
        "mapped at the end": found["RssFile"],
        "PLE table, on the disk": plan.tier("disk"),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
