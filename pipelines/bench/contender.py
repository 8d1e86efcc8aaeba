"""The work that contenders share, measured alike in each; runs in their environments, too.

A contender is a process of its own: it loads, decodes random rows, reads a long prompt, and says
what it took. It brings an `Engine`; what that is asked, and in which order, is the same for all.
Nothing here may import more than NumPy, nor may `cost`.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.bench.cost import resident_bytes, seconds

Array = npt.NDArray[np.float32]
_CHECKED = 16  # tokens of the prompt whose logits tell whether contenders do the same
_FIRST_ID = 4  # special tokens are not drawn


class Engine(Protocol):
    """One way to run a text decoder."""

    def logits(self, ids: list[int]) -> Array:
        """[vocab] after the last token of a prompt."""

    def prompt(self, ids: list[int]) -> None:
        """Read a prompt up to its first token."""

    def decode(self, prompts: list[list[int]], count: int) -> list[float]:
        """So many greedy tokens a row, all rows together -> seconds between one and the next."""


class Tower(Protocol):
    """One way to run an encoder."""

    def encode(self, value: Array) -> Array:
        """What the tower reads -> what it gives."""


def text(load: Callable[[Mapping[str, Any]], Engine]) -> None:
    """Measure an engine on the work of the command line, and print what it took."""
    wanted = json.loads(sys.argv[1])
    began = time.perf_counter()
    engine = load(wanted)
    vocab = wanted["vocab"]
    logits = engine.logits(prompts(1, _CHECKED, vocab)[0])
    found: dict[str, float | int] = {"load to first token, s": time.perf_counter() - began}
    np.save(wanted["output"], logits)
    for rows in wanted["batches"]:
        asked = prompts(rows, wanted["prompt_tokens"], vocab)
        steps = engine.decode(asked, wanted["new_tokens"])
        found[f"{rows} rows, tokens/s"] = rows / statistics.median(steps)
        found.setdefault("peak", resident_bytes()["VmHWM"])
    for length in wanted["prompts"]:
        (ids,) = prompts(1, length, vocab)
        taken = _median_of_three(partial(engine.prompt, ids))
        found[f"prompt of {length}, tokens/s"] = length / taken
    found.setdefault("peak", resident_bytes()["VmHWM"])
    sys.stdout.write(json.dumps(found))


def tower(load: Callable[[Mapping[str, Any]], Tower]) -> None:
    """Measure a tower on the arrays of the command line, and print what it took."""
    wanted = json.loads(sys.argv[1])
    began = time.perf_counter()
    made = load(wanted)
    found: dict[str, float | int] = {"load, s": time.perf_counter() - began}
    given = []
    for name, units in wanted["inputs"].items():
        value = np.load(Path(wanted["folder"]) / f"{name}.npy")
        given.append(made.encode(value).ravel())
        taken = _median_of_three(partial(made.encode, value))
        found[f"{name}, {units['name']}/s"] = units["count"] / taken
    np.save(wanted["output"], np.concatenate(given))
    found["peak"] = resident_bytes()["VmHWM"]
    sys.stdout.write(json.dumps(found))


def prompts(rows: int, tokens: int, vocab: int) -> list[list[int]]:
    """Random token ids, the same for every contender."""
    drawn = random.Random(rows * 1_000_003 + tokens)
    return [[drawn.randrange(_FIRST_ID, vocab) for _ in range(tokens)] for _ in range(rows)]


def between(times: Sequence[float]) -> list[float]:
    """Seconds from each moment to the next."""
    return [after - before for before, after in pairwise(times)]


def _median_of_three(work: Callable[[], object]) -> float:
    return statistics.median(seconds(work) for _ in range(3))
