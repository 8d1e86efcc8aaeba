"""Which examples make up which batch: a function of the seed and the batch's number alone.

So a run that resumes, and every process of one, knows its batches without being told.
"""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from pipelines.training.examples import Example

_POOL = 2048  # examples among which those of like length are put together
_JITTER = 0.15  # share by which a length may be off when it is compared


class Sampler:
    """Endless batches of one kind of examples.

    Args:
        examples: to draw from; each comes about `weight` times an epoch.
        cost: what an example counts towards a batch's size (1, or its seconds).
        size: what the examples of a batch may cost together, each counted as its longest.
        seed: of order and draws.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        cost: Callable[[Example], float],
        size: float,
        seed: int,
    ) -> None:
        self.examples, self.cost, self.size, self.seed = examples, cost, size, seed
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, number: int) -> list[Example]:
        """The batch of that number, counted from 0 over all epochs."""
        epoch = 0
        while number >= len(batches := self._epoch(epoch)):
            number -= len(batches)
            epoch += 1
        return [self.examples[i] for i in batches[number]]

    def _draw_epoch(self, epoch: int) -> list[list[int]]:
        draws = random.Random(f"{self.seed} {epoch}")
        order: list[int] = []
        for i, example in enumerate(self.examples):
            times = int(example.weight)
            order += [i] * (times + (draws.random() < example.weight - times))
        draws.shuffle(order)
        batches: list[list[int]] = []
        for start in range(0, len(order), _POOL):
            pool = order[start : start + _POOL]
            costs = {i: self.cost(self.examples[i]) for i in pool}
            pool.sort(key=lambda i: costs[i] * draws.uniform(1 - _JITTER, 1 + _JITTER))
            batches += self._cut(pool, costs)
        draws.shuffle(batches)
        return batches

    def _cut(self, pool: list[int], costs: dict[int, float]) -> list[list[int]]:
        batches: list[list[int]] = [[]]
        longest = 0.0
        for i in pool:
            longest = max(longest, costs[i])
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.size:
                batches.append([])
                longest = costs[i]
            batches[-1].append(i)
        return batches
