"""Where the time of a decode step goes: products with weights, other operators, everything else.

Operators are timed by torch's profiler, which itself takes time between them. So a step without it
is what shares are taken of: what neither products nor other operators account for there is Python
and whatever else lies between operators.
"""

import statistics
from dataclasses import replace

from torch.profiler import ProfilerActivity, profile

import gemma3n
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.generate import Prompt
from gemma3n.sampling import Sampling
from pipelines.bench.contender import between, prompts
from pipelines.bench.ours import TokenTimes
from pipelines.bench.table import Lines
from pipelines.nested import nested_size
from pipelines.plan import check_context
from pipelines.settings import BenchJob

# Names of the operators that multiply with weights, on the routes that there are.
_PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::_int_mm",
    "aten::_weight_int4pack_mm_for_cpu",
    "mkldnn::_linear_pointwise",
    "onednn::qlinear_pointwise",
    "gemma3n_rounded::int8_product",
    "gemma3n_rounded::int4_product",
    "gemma3n_bfloat16::product",
)
_SKIPPED = 3  # first steps, which bring in what later ones find
_SHOWN = 12  # operators; the others are summed up


def bench_profile(job: BenchJob) -> Lines:
    """Profile `rows` rows.

    Raises:
        SettingsError: no such checkpoint, size or precision, or too few tokens to tell.
    """
    if job.new_tokens < 2 * _SKIPPED:
        raise SettingsError(
            f"new_tokens={job.new_tokens}: the first {_SKIPPED} steps are left out, and what is "
            f"left is too little to tell. Ask for {2 * _SKIPPED} or more."
        )
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    check_context("prompt_tokens and new_tokens", job.prompt_tokens + job.new_tokens, config)
    model = gemma3n.load(
        job.model.path,
        nested=nested_size(job.nested, config),
        budget_gb=job.nested.budget_gb,
        parts=["text"],
        precision=job.precision.value,
        pack=job.pack.value,
        compile=job.compile,
        device="cpu",
        ple=job.ple.anywhere().load,
    )
    vocab = config.text.vocab_size_per_layer_input
    asked = [Prompt(ids) for ids in prompts(job.rows, job.prompt_tokens, vocab)]
    sampling = Sampling(job.new_tokens, stop_ids=[])
    alone = TokenTimes()
    model.complete(asked, sampling, on_token=alone)
    step = statistics.median(between(alone.times)[_SKIPPED:])
    watched = _Watched(_SKIPPED)
    model.complete(asked, sampling, on_token=watched)
    watched.profiler.stop()
    steps = job.new_tokens - 1 - _SKIPPED
    runs = _lines(watched.profiler, steps, step)
    title = (
        f"{job.model.path}, size {model.size_name}, {model.formats.weights.value}, "
        f"{job.rows} rows: {step * 1e3:.1f} ms a step without the profiler"
    )
    return Lines(title, {"rows": job.rows, "step s": step}, runs, word=_shown)


class _Watched(TokenTimes):
    """Token times, and a profiler that starts when the first steps are over."""

    def __init__(self, skipped: int) -> None:
        super().__init__()
        self.skipped = skipped
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def __call__(self, row: int, token: int) -> None:
        super().__call__(row, token)
        if row == 0 and len(self.times) == self.skipped + 1:
            self.profiler.start()


def _lines(profiler: profile, steps: int, step: float) -> list[dict[str, str | float]]:
    """An operator a line, the longest first; then sums, and what is left of a step."""
    found = [
        (event.key, event.count / steps, event.self_cpu_time_total / 1e6 / steps)
        for event in profiler.key_averages()
        if event.self_cpu_time_total
    ]
    found.sort(key=lambda one: -one[2])
    products = sum(seconds for name, _, seconds in found if name in _PRODUCTS)
    others = sum(seconds for name, _, seconds in found if name not in _PRODUCTS)
    return [
        _line(name, calls, seconds, step)
        for name, calls, seconds in [
            *found[:_SHOWN],
            ("the other operators", sum(c for _, c, _ in found[_SHOWN:]), _sum(found[_SHOWN:])),
            ("products with weights", _calls(found, True), products),
            ("all other operators, profiled", _calls(found, False), others),
            ("outside products, of a step without the profiler", 0.0, step - products),
        ]
    ]


def _sum(found: list[tuple[str, float, float]]) -> float:
    return sum(seconds for *_, seconds in found)


def _calls(found: list[tuple[str, float, float]], products: bool) -> float:
    return sum(calls for name, calls, _ in found if (name in _PRODUCTS) is products)


def _line(name: str, calls: float, seconds: float, step: float) -> dict[str, str | float]:
    return {
        "where": name,
        "calls a step": calls,
        "ms a step": seconds * 1e3,
        "% of a step": 100 * seconds / step,
    }


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"
