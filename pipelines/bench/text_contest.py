"""Text at the speed of ours and of other projects' engines: decoding rows, and reading prompts."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.limits import usable_cores
from gemma3n.matformer import FULL_SIZE, NestedSize
from gemma3n.memory import plan_memory
from pipelines.bench.contest import Contender, Contest, hold
from pipelines.bench.gguf_files import gguf_file
from pipelines.bench.peers_env import peers_python
from pipelines.nested import nested_size
from pipelines.plan import check_context
from pipelines.settings import BenchJob, Peer, Precision

_BATCHES = [1, 8, 32]
_GGUF = {Precision.bfloat16: "BF16", Precision.int8: "Q8_0", Precision.int4: "Q4_0"}
_TRANSFORMERS = "transformers bfloat16"
# The cosine of logits after a random prompt is 0 for other weights. For the same it may be far from
# 1, too: random weights magnify what rounding does to them.
_ALIKE = 0.1


def bench_decode_peers(job: BenchJob) -> Contest:
    """Load, and decode so many rows at once: ours in every precision, and every peer.

    Raises:
        SettingsError: see `_contest`.
    """
    batches = job.batches or _BATCHES
    return _contest(job, f"{job.new_tokens} new tokens", {"batches": batches, "prompts": []})


def bench_prefill(job: BenchJob) -> Contest:
    """Load, and read prompts up to their first token.

    Raises:
        SettingsError: see `_contest`.
    """
    if not job.prompts:
        raise SettingsError("prompts=[] measures nothing. Name lengths: prompts=[512]")
    return _contest(job, "prompts read", {"batches": [], "prompts": job.prompts})


def _contest(job: BenchJob, what: str, work: dict[str, Any]) -> Contest:
    """Ours in every precision, and every peer, on one work.

    Raises:
        SettingsError: no such checkpoint, peer, precision or environment, a peer that cannot do
            the work, or one that does other work.
    """
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    size = nested_size(job.nested, config)
    check_context("prompt_tokens and new_tokens", job.prompt_tokens + job.new_tokens, config)
    for length in work["prompts"]:
        check_context("prompts", length + 1, config)
    _check(job, size)
    checkpoint = Checkpoint(job.model.path, ["text"])
    threads = usable_cores()
    work |= {
        "part": "text",
        "checkpoint": str(checkpoint.folder.resolve()),
        "nested": asdict(size),
        "vocab": config.text.vocab_size_per_layer_input,
        "outputs": config.text.vocab_size,
        "prompt_tokens": job.prompt_tokens,
        "new_tokens": job.new_tokens,
        "threads": threads,
    }
    ours = [_ours(job, precision) for precision in job.precisions]
    contenders = [*ours, *_peers(job, checkpoint, threads)]
    title = (
        f"{job.model.path}, size {size.label}: {what}, {job.prompt_tokens} prompt tokens a row, "
        f"{threads} threads, {job.repeat} rounds"
    )
    asked = {**work, "precisions": [one.value for one in job.precisions], "pack": job.pack.value}
    contest = Contest(title, asked)
    for one, precision in zip(ours, job.precisions, strict=True):
        plan = plan_memory(checkpoint, size, ["text"], precision.value, batch=0, context=0)
        contest.read[one.name] = plan.tier("device")
    return hold(contest, contenders, work, job.repeat, _ALIKE)


def _check(job: BenchJob, size: NestedSize) -> None:
    if Precision.auto in job.precisions:
        raise SettingsError(
            "precisions: auto is what suits a machine, and is not the same everywhere. Name them: "
            f"{', '.join(one.value for one in Precision if one is not Precision.auto)}."
        )
    if Peer.timm in job.peers:
        raise SettingsError(
            "peers: timm has no text decoder. It takes part in what=encode; here there are "
            "transformers and llama_cpp."
        )
    if job.peers and size != FULL_SIZE:
        raise SettingsError(
            f"nested={size.label}: peers run a checkpoint as it is. Write this size as a "
            "checkpoint of its own with `gemma3n slice`, and measure that."
        )


def _ours(job: BenchJob, precision: Precision) -> Contender:
    against = []
    if Peer.transformers in job.peers:
        against.append(_TRANSFORMERS)
    if Peer.llama_cpp in job.peers and precision in _GGUF:
        against.append(_llama_name(precision))
    wanted = {
        "precision": precision.value,
        "pack": job.pack.value,
        "compile": job.compile,
        "ple": asdict(job.ple.anywhere().load),
    }
    name = f"ours {precision.value}"
    return Contender(name, "pipelines.bench.ours", wanted, against=tuple(against))


def _llama_name(precision: Precision) -> str:
    return f"llama.cpp {_GGUF[precision]}"


def _peers(job: BenchJob, checkpoint: Checkpoint, threads: int) -> list[Contender]:
    found = []
    python = peers_python(job.peers_env) if job.peers else Path()
    if Peer.transformers in job.peers:
        module = "pipelines.bench.peers.transformers_text"
        found.append(Contender(_TRANSFORMERS, module, {"precision": "bfloat16"}, python))
    if Peer.llama_cpp in job.peers:
        folder = Path(job.peers_files) / checkpoint.folder.name
        for precision in job.precisions:
            if precision in _GGUF:
                path = gguf_file(folder, _GGUF[precision], checkpoint, python, threads)
                module, read = "pipelines.bench.peers.llama_cpp_text", {"gguf": str(path.resolve())}
                found.append(Contender(_llama_name(precision), module, read, python))
    return found
