"""transformers' Gemma 3n decoder as a contender: `python -m ... JSON`."""

import time
from collections.abc import Mapping
from typing import Any

import torch
import transformers

from pipelines.bench.contender import Array, between, text


class Transformers:
    """Greedy decoding by hand: less work a step than `generate` does."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        torch.set_num_threads(wanted["threads"])
        torch.set_grad_enabled(False)
        transformers.logging.set_verbosity_error()
        self.model = transformers.Gemma3nForCausalLM.from_pretrained(
            wanted["checkpoint"], dtype=getattr(torch, wanted["precision"])
        ).eval()

    def logits(self, ids: list[int]) -> Array:
        found: Array = self._read([ids]).logits[0, -1].float().numpy()
        return found

    def prompt(self, ids: list[int]) -> None:
        self._read([ids]).logits.argmax(-1).tolist()

    def decode(self, prompts: list[list[int]], count: int) -> list[float]:
        read = self._read(prompts)
        times = []
        for _ in range(count):
            token = read.logits[:, -1].argmax(-1, keepdim=True)
            token.tolist()
            times.append(time.perf_counter())
            read = self.model(input_ids=token, past_key_values=read.past_key_values, use_cache=True)
        return between(times)

    def _read(self, prompts: list[list[int]]) -> Any:
        return self.model(input_ids=torch.tensor(prompts), use_cache=True, logits_to_keep=1)


if __name__ == "__main__":
    text(Transformers)
