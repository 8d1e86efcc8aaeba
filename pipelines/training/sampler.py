"""Which examples make up which batch: a function of the seed and the batch's number alone.

So a run that resumes, and every process of one, knows its batches without being told.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache

from gemma3n.errors import SettingsError
from pipelines.training.examples import PAUSE_S, Example, joined

_POOL = 2048  # examples among which those of like length are put together
_JITTER = 0.15  # share by which a length may be off when it is compared
_ALONE = 0.3  # share of draws that are not joined, where joining is on


class Sampler:
    """Endless batches of one kind of examples.

    Args:
        examples: to draw from; each comes about `weight` times an epoch.
        cost: what an example counts towards a batch's size (1, or its seconds).
        size: what the examples of a batch may cost together, each counted as its longest.
        seed: of order and draws.
        join: clips without a prompt of their own are joined up to this length, in seconds.

    Raises:
        SettingsError: no example has weight.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        cost: Callable[[Example], float],
        size: float,
        seed: int,
        join: float = 0.0,
    ) -> None:
        self.examples, self.cost, self.size, self.seed = examples, cost, size, seed
        self.join = join
        if not any(example.weight > 0 for example in examples):
            raise SettingsError(
                f"all {len(examples)} rows of a kind have weight 0, so that none is ever drawn. "
                "Give some of them weight, or the kind batch size 0."
            )
        self._ends = [0]  # batches up to the end of each epoch that was drawn so far
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, number: int) -> list[Example]:
        """The batch of that number, counted from 0 over all epochs."""
        while number >= self._ends[-1]:
            self._ends.append(self._ends[-1] + len(self._epoch(len(self._ends) - 1)))
        epoch = bisect_right(self._ends, number) - 1
        return self._epoch(epoch)[number - self._ends[epoch]]

    def _draw_epoch(self, epoch: int) -> list[list[Example]]:
        draws = random.Random(f"{self.seed} {epoch}")
        order: list[Example] = []
        for example in self.examples:
            times = int(example.weight)
            order += [example] * (times + (draws.random() < example.weight - times))
        draws.shuffle(order)
        if self.join:
            order = self._joined(order, draws)
        batches: list[list[Example]] = []
        for start in range(0, len(order), _POOL):
            pool = order[start : start + _POOL]
            pool.sort(key=lambda e: self.cost(e) * draws.uniform(1 - _JITTER, 1 + _JITTER))
            batches += self._cut(pool)
        draws.shuffle(batches)
        return batches

    def _joined(self, order: list[Example], draws: random.Random) -> list[Example]:
        """Neighbours as one, up to a length drawn anew each time."""
        groups: list[list[Example]] = []
        room = 0.0
        for example in order:
            needed = PAUSE_S + example.seconds
            if room >= needed and not example.asks:
                groups[-1].append(example)
                room -= needed
                continue
            groups.append([example])
            alone = example.asks or draws.random() < _ALONE
            room = 0.0 if alone else draws.uniform(0, self.join) - example.seconds
        return [joined(group) for group in groups]

    def _cut(self, pool: list[Example]) -> list[list[Example]]:
        batches: list[list[Example]] = [[]]
        longest = 0.0
        for example in pool:
            cost = self.cost(example)
            longest = max(longest, cost)
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.size:
                batches.append([])
                longest = cost
            batches[-1].append(example)
        return batches
