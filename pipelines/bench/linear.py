"""Routes of linear maps against numbers of rows, beside what this machine's memory gives.

One row reads its weights and does little else, so its GB/s are to be compared with the read limit;
many rows multiply, and their microseconds with one another. Contenders take turns, and each has
more weights than a processor's cache holds.
"""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.choices import Precision
from gemma3n.rounding import to_int4, to_int8
from gemma3n.routes import int4, int8, native, packed
from gemma3n.routes.blocks import Block
from gemma3n.routes.int4 import Int4
from gemma3n.routes.int8 import Int8
from gemma3n.routes.native import NativeBfloat16, NativeInt4, NativeInt8
from gemma3n.routes.packed import Packed
from pipelines.bench.cost import seconds
from pipelines.bench.limit import read_limit
from pipelines.bench.table import Bench
from pipelines.settings import BenchJob

_SHAPE = (8192, 2048)  # outputs, inputs: an FFN map of E2B
_BATCHES = [1, 8, 32, 256]  # rows, unless others are asked for
_PRODUCTS = 30  # of which the median is one run's figure
_MEGA = 1_000_000


class _Plain:
    """A bfloat16 weight as a checkpoint holds it; a `Block`."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.shape = weight, (weight.shape[0], weight.shape[1])
        self.bytes = weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight).to(x.dtype)


def bench_linear(job: BenchJob) -> Bench:
    """Measure every route that this machine has."""
    contenders = {name: _weights(make, job.megabytes) for name, make in _routes().items()}
    batches = job.batches or _BATCHES
    runs = [_run(contenders, batches) for _ in range(job.repeat)]
    threads = torch.get_num_threads()
    title = f"linear maps {_SHAPE[1]} -> {_SHAPE[0]}, {threads} threads, {job.repeat} runs"
    asked = {"batches": batches, "megabytes": job.megabytes, "threads": threads}
    return Bench(title, asked, runs)


def _routes() -> dict[str, Callable[[Tensor], Block]]:
    """How to make a weight of each route, by its name."""
    made: dict[str, Callable[[Tensor], Block]] = {"bfloat16": _Plain}
    if packed.is_available(torch.bfloat16):
        made["bfloat16 packed"] = Packed
    if int8.multiplies():
        made["int8"] = lambda weight: Int8(*to_int8(weight), pack=False)
    if int8.packs():
        made["int8 packed"] = lambda weight: Int8(*to_int8(weight), pack=True)
    if int4.is_available():
        made["int4"] = lambda weight: Int4(*to_int4(weight), copy=False)
    if native.takes(Precision.bfloat16, *_SHAPE):
        made["bfloat16 native"] = NativeBfloat16
    if native.takes(Precision.int8, *_SHAPE):
        made["int8 native"] = lambda weight: NativeInt8(*to_int8(weight))
    if native.takes(Precision.int4, *_SHAPE):
        made["int4 native"] = lambda weight: NativeInt4(*to_int4(weight))
    return made


def _weights(make: Callable[[Tensor], Block], megabytes: int) -> list[Block]:
    """As many weights as it takes to fill so many megabytes."""
    weight = (torch.randn(_SHAPE, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    blocks = [make(weight)]
    while len(blocks) * blocks[0].bytes < megabytes * _MEGA:
        blocks.append(make(weight.clone()))
    return blocks


@torch.inference_mode()
def _run(contenders: Mapping[str, list[Block]], rows: list[int]) -> dict[str, float]:
    found = {"memory read, GB/s": read_limit()}
    turns = {name: cycle(blocks) for name, blocks in contenders.items()}
    for count in rows:
        x = torch.randn(count, _SHAPE[1])
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(_PRODUCTS):
            for name, blocks in turns.items():
                block = next(blocks)
                times[name].append(seconds(partial(block, x)))
        for name, taken in times.items():
            median = statistics.median(taken)
            found[f"{name}, {count} rows, µs"] = median * 1e6
            if count == 1:
                found[f"{name}, {count} rows, GB/s"] = contenders[name][0].bytes / median / 1e9
    return found
