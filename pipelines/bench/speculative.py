"""What drafts gain: text of a size alone beside that of a smaller size drafting for it.

Both do all of their work; only how many drafted tokens count as right is set, at several rates,
because random weights agree on nothing. The summary of a run counts what was right in truth.
"""

import torch
from torch import Tensor

from gemma3n import Gemma3n, load
from gemma3n.answers import Answers, Ints
from gemma3n.choices import Precision
from gemma3n.config import Config
from gemma3n.draft_length import DraftLength
from gemma3n.generate import Generation
from gemma3n.matformer import NestedSize
from gemma3n.policy import SPECULATIVE, Policy
from gemma3n.sampling import Sampling
from gemma3n.slots import Slots
from gemma3n.speculate import SpeculativeLane
from pipelines.bench.speed import decode_speed
from pipelines.bench.table import Bench
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
    size = nested_size(job.nested, Config.from_folder(job.model.folder))
    model = _load(job, size, job.precision)
    check_policy(job.policy, size, model.config)
    drafted_in = job.policy.draft_precision
    draft = None if drafted_in is None else _load(job, job.policy.small, drafted_in)
    runs = []
    for number in range(job.repeat):
        alone = decode_speed(Generation(model, _sampling(job), slots=job.rows), job, number)
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
            run[f"{rate:.0%} right, gain"] = decode_speed(generation, job, number) / alone
        runs.append(run)
    drafting = f"{job.policy.small}{f' in {drafted_in.value}' if drafted_in else ''}"
    title = (
        f"{job.model.path}, size {size.label}: {drafting} drafts up to {job.policy.draft_tokens} "
        f"tokens, {job.rows} rows, {job.new_tokens} new ones each; acceptance set, cost real"
    )
    return Bench(title, {"rates": list(RATES), "rows": job.rows}, runs)


def _load(job: BenchJob, nested: str | NestedSize, precision: Precision) -> Gemma3n:
    return load(
        job.model.path,
        nested,
        parts=["text"],
        precision=precision.value,
        pack=job.pack.value,
        ple=job.ple.anywhere().load,
    )


def _sampling(job: BenchJob) -> Sampling:
    return Sampling(job.new_tokens, stop_ids=[])
