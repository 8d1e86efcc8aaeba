"""What drafts gain: text of a size alone beside that of a smaller size drafting for it.

Both do all of their work; only how many drafted tokens count as right is set, at several rates,
because random weights agree on nothing. The summary of a run counts what was right in truth.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from gemma3n import Gemma3n, load
from gemma3n.answers import Answers, Ints
from gemma3n.draft_length import DraftLength
from gemma3n.generate import Generation, Prompt
from gemma3n.policy import SPECULATIVE, Policy
from gemma3n.sampling import Sampling
from gemma3n.slots import Slots
from gemma3n.speculate import SpeculativeLane
from pipelines.bench_table import Bench
from pipelines.nested import check_policy, nested_size
from pipelines.settings import BenchJob

RATES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)


class _SetLane(SpeculativeLane):
    """Counts drafted tokens as right at a rate."""

    rate: float

    def judge(
        self, rows: Ints, logits: Tensor, drafted: Tensor, drafts: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """See `SpeculativeLane.judge`."""
        _, chosen = super().judge(rows, logits, drafted, drafts)
        right = torch.rand(drafted.shape) < self.rate
        return right.long().cumprod(1).sum(1), torch.cat([drafted, chosen[:, -1:]], 1)


class _SetGeneration(Generation):
    """Generates with drafts that are right at a rate."""

    rate = 0.0

    def speculative_lane(
        self, slots: Slots, draft: Slots, answers: Answers, length: DraftLength
    ) -> SpeculativeLane:
        """See `Generation.speculative_lane`."""
        lane = _SetLane(slots, draft, answers, length)
        lane.rate = self.rate
        return lane


def bench_speculative(job: BenchJob) -> Bench:
    """Measure, alone and at each rate in turn, over and over.

    Raises:
        SettingsError: no such checkpoint, size or precision.
    """
    model = _load(job, None)
    size = model.size
    check_policy(job.policy, size, model.config)
    draft = None if job.policy.draft_precision is None else _load(job, job.policy.small)
    runs = []
    for number in range(job.repeat):
        alone = _speed(_alone(model, job), job, number)
        run: dict[str, float] = {"alone, tokens/s": alone}
        for rate in RATES:
            generation = _SetGeneration(
                model,
                _sampling(job),
                policy=Policy(SPECULATIVE, job.policy.small, draft_tokens=job.policy.draft_tokens),
                slots=job.rows,
                draft=draft,
            )
            generation.rate = rate
            run[f"{rate:.0%} right, gain"] = _speed(generation, job, number) / alone
        runs.append(run)
    precision = job.policy.draft_precision
    drafting = f"{job.policy.small}{f' in {precision.value}' if precision else ''}"
    title = (
        f"{job.model.path}, size {size.label}: {drafting} drafts up to {job.policy.draft_tokens} "
        f"tokens, {job.rows} rows, {job.new_tokens} new ones each; acceptance set, cost real"
    )
    return Bench(title, {"rates": list(RATES), "rows": job.rows}, runs)


def _load(job: BenchJob, small: str | None) -> Gemma3n:
    from gemma3n.config import Config

    if small is not None and job.policy.draft_precision is not None:
        return load(
            job.model.path, small, parts=["text"], precision=job.policy.draft_precision.value
        )
    size = nested_size(job.nested, Config.from_folder(job.model.folder))
    return load(job.model.path, size, parts=["text"], precision=job.precision.value)


def _alone(model: Gemma3n, job: BenchJob) -> Generation:
    return Generation(model, _sampling(job), slots=job.rows)


def _sampling(job: BenchJob) -> Sampling:
    return Sampling(job.new_tokens, stop_ids=[])


def _speed(generation: Generation, job: BenchJob, seed: int) -> float:
    """Tokens a second of all rows together, their prompts not counted."""
    torch.manual_seed(seed)
    vocab = generation.model.config.text.vocab_size_per_layer_input
    ids = torch.randint(4, vocab, (job.rows, job.prompt_tokens)).tolist()
    began: list[float] = []

    def prompts() -> Iterator[tuple[int, Prompt]]:
        yield from ((row, Prompt(one)) for row, one in enumerate(ids))

    def token(*_: int) -> None:
        if not began:
            began.append(time.perf_counter())

    generation.on_token = token
    for _ in generation.stream(prompts()):
        pass
    return job.rows * (job.new_tokens - 1) / (time.perf_counter() - began[0])
