"""llama.cpp on an exported GGUF file as a contender: `python -m ... JSON`."""

import ctypes
import time
from collections.abc import Mapping, Sequence
from typing import Any

import llama_cpp
import numpy as np

from pipelines.bench.contender import Array, between, text

_PIECE = 512  # tokens of a prompt that are read at once


class LlamaCpp:
    """The C interface, by ctypes: no Python work of llama-cpp-python's own in a step."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.vocab = wanted["outputs"]
        rows, threads = max([1, *wanted["batches"]]), wanted["threads"]
        a_row = wanted["prompt_tokens"] + wanted["new_tokens"]
        self.room = max([rows * a_row, _PIECE, *wanted["prompts"]])
        llama_cpp.llama_log_set(_silent, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            wanted["gguf"].encode(), llama_cpp.llama_model_default_params()
        )
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {wanted['gguf']}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = self.room, self.room, _PIECE
        context.n_threads = context.n_threads_batch = threads
        context.n_seq_max, context.kv_unified = rows, True
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")
        self.memory = llama_cpp.llama_get_memory(self.context)

    def logits(self, ids: list[int]) -> Array:
        self._read([ids])
        return self._outputs([len(ids) - 1])[0].copy()

    def prompt(self, ids: list[int]) -> None:
        self._read([ids])
        int(self._outputs([len(ids) - 1])[0].argmax())

    def decode(self, prompts: list[list[int]], count: int) -> list[float]:
        last = self._read(prompts)
        times = []
        for step in range(count):
            tokens = [int(row.argmax()) for row in self._outputs(last)]
            times.append(time.perf_counter())
            position = len(prompts[0]) + step
            last = self._run([(token, position, row, True) for row, token in enumerate(tokens)])
        return between(times)

    def _read(self, prompts: list[list[int]]) -> list[int]:
        llama_cpp.llama_memory_clear(self.memory, True)
        return self._run(
            [
                (token, place, row, place == len(ids) - 1)
                for row, ids in enumerate(prompts)
                for place, token in enumerate(ids)
            ]
        )

    def _run(self, tokens: Sequence[tuple[int, int, int, bool]]) -> list[int]:
        """Run (id, position, row, whether logits are wanted) -> where in the batch these are."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for place, (token, position, row, wanted) in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
            batch.logits[place] = wanted
        code = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_synchronize(self.context)
        llama_cpp.llama_batch_free(batch)
        if code:
            raise SystemExit(f"llama_decode gives {code}")
        return [place for place, (*_, wanted) in enumerate(tokens) if wanted]

    def _outputs(self, places: Sequence[int]) -> list[Array]:
        found = (llama_cpp.llama_get_logits_ith(self.context, place) for place in places)
        return [np.ctypeslib.as_array(one, shape=(self.vocab,)) for one in found]


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """Say nothing: standard output is for figures, the error's last line for what went wrong."""


if __name__ == "__main__":
    text(LlamaCpp)
