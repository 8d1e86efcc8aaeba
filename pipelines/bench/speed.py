"""How fast one way of decoding is, of random prompts: for benches that compare several."""

import time

import torch

from gemma3n.generate import Generation, Prompt
from pipelines.settings import BenchJob


def decode_speed(generation: Generation, job: BenchJob, seed: int) -> float:
    """Tokens a second of all rows together, their prompts not counted.

    Args:
        generation: with a slot for each row.
        job: rows, and tokens of each.
        seed: of the prompts.
    """
    vocab = generation.model.config.text.vocab_size_per_layer_input
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, vocab, (job.rows, job.prompt_tokens), generator=drawn).tolist()
    began: list[float] = []

    def token(*_: int) -> None:
        if not began:
            began.append(time.perf_counter())

    generation.on_token = token
    for _ in generation.stream((row, Prompt(one, seed=row)) for row, one in enumerate(ids)):
        pass
    return job.rows * (job.new_tokens - 1) / (time.perf_counter() - began[0])
