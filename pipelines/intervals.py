"""Rows' parts in a score -> the score of the set, and how sure it is.

Every score of a set is a function of sums over its rows, so that one bootstrap serves all. Its
weak end is a set without any error, or with nothing else: drawing from it again shows no
variation at all. There, and for plain shares of rows, Wilson's interval is used (J. Am. Stat.
Assoc. 22, 1927), which for 0 of n rows ends near 4 / n.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

RESAMPLES = 1000
FEWEST = 10  # rows, of which a bootstrap says anything
_SHARE = 0.95  # of an interval
_OUTSIDE = (50 * (1 - _SHARE), 50 * (1 + _SHARE))  # its percentiles
_Z = NormalDist().inv_cdf((1 + _SHARE) / 2)
_AT_ONCE = 50  # resamples whose draws are in memory together


@dataclass(frozen=True)
class Part:
    """What one row adds to a score: `of` in `out_of`."""

    of: float
    out_of: float


@dataclass(frozen=True)
class Score:
    """A set's score, 0..1 (error rates may be above), and its 95 % interval, None of few rows."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Score):
    """How much higher one score is than another on the same rows, paired."""

    wins: int  # rows in which the first is better
    losses: int
    ties: int


@dataclass(frozen=True)
class Metric:
    """A score by name: how it is called, and how it comes from sums over rows."""

    name: str
    lower_is_better: bool = False
    # [..., columns] sums of `counts_of` -> [...]; None is the sum of `of` over that of `out_of`.
    value: Callable[[F64], F64] | None = None

    def of_sums(self, sums: F64) -> F64:
        """The score, or many of them, from sums over rows."""
        if self.value is not None:
            return self.value(sums)
        return sums[..., 0] / np.maximum(1, sums[..., 1])


Counts = Mapping[str, F64]  # metric -> [rows, columns], what each row adds to the sums


class Rows:
    """One set of rows at one size: their parts, and the scores of 1000 draws of as many rows."""

    def __init__(
        self, metrics: Mapping[str, Metric], parts: Mapping[str, Sequence[Part]], counts: Counts
    ) -> None:
        """Draw.

        Args:
            metrics: to score.
            parts: metric -> each row's; what counts of rows one by one.
            counts: of metrics whose sums are others than those of `parts`.
        """
        self.metrics = metrics
        self.parts = {
            name: np.array([(p.of, p.out_of) for p in parts[name]], np.float64).reshape(-1, 2)
            for name in metrics
        }
        self.counts = {name: counts.get(name, self.parts[name]) for name in metrics}
        self.rows = len(next(iter(self.parts.values())))
        self._drawn: dict[str, F64] | None = None

    def score(self, name: str) -> Score:
        """The score of the set."""
        value = float(self.metrics[name].of_sums(self.counts[name].sum(0)))
        return Score(value, *self._interval(name))

    def difference(self, name: str, other: "Rows") -> Difference:
        """To the score of the same rows, in the same order, at another size."""
        metric = self.metrics[name]
        scores = [float(metric.of_sums(rows.counts[name].sum(0))) for rows in (self, other)]
        mine, others = self._shares(name), other._shares(name)
        higher, lower = int((mine > others).sum()), int((mine < others).sum())
        won, lost = (lower, higher) if metric.lower_is_better else (higher, lower)
        low: float | None = None
        high: float | None = None
        if self is other:
            low = high = 0.0
        elif self.rows < FEWEST:
            pass
        elif np.array_equal(self.parts[name], other.parts[name]):
            high = wilson(0, self.rows)[1]
            low = -high
        else:
            drawn = self._resampled(name) - other._resampled(name)
            low, high = map(float, np.percentile(drawn, _OUTSIDE))
        return Difference(scores[0] - scores[1], low, high, won, lost, self.rows - won - lost)

    def _shares(self, name: str) -> F64:
        of, out_of = self.parts[name].T
        return of / np.maximum(1, out_of)

    def _interval(self, name: str) -> tuple[float | None, float | None]:
        of, out_of = self.parts[name].T
        if (out_of == 1).all() and np.isin(of, (0, 1)).all():
            return wilson(float(of.sum()), self.rows)
        if self.rows < FEWEST:
            return None, None
        # As if a row that errs were wrong as a whole: of rows, and not of their words, so many
        # were seen.
        if not of.any():
            return wilson(0, self.rows)
        if (of == out_of).all():
            return wilson(self.rows, self.rows)
        low, high = np.percentile(self._resampled(name), _OUTSIDE)
        return float(low), float(high)

    def _resampled(self, name: str) -> F64:
        """The score of as many rows drawn with replacement, again and again."""
        if self._drawn is None:
            stacked = np.hstack(list(self.counts.values()))
            ends = np.cumsum([counts.shape[1] for counts in self.counts.values()])
            sums = np.split(resampled_sums(stacked), ends[:-1], axis=1)
            self._drawn = {
                key: self.metrics[key].of_sums(some)
                for key, some in zip(self.counts, sums, strict=True)
            }
        return self._drawn[name]


def resampled_sums(counts: F64) -> F64:
    """Sums over as many rows drawn with replacement; the same draws for as many rows, always.

    Args:
        counts: [rows, columns]

    Returns:
        [resamples, columns]
    """
    draws, rows = np.random.default_rng(0), len(counts)
    sums = np.empty((RESAMPLES, counts.shape[1]))
    for start in range(0, RESAMPLES, _AT_ONCE):
        drawn = draws.integers(rows, size=(_AT_ONCE, rows))
        times = np.stack([np.bincount(some, minlength=rows) for some in drawn])
        sums[start : start + _AT_ONCE] = times.astype(np.float64) @ counts
    return sums


def wilson(of: float, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: `of` in `rows`."""
    share, spread = of / rows, _Z**2 / rows
    centre = share + spread / 2
    reach = _Z * float(np.sqrt(share * (1 - share) / rows + spread / rows / 4))
    low, high = (centre - reach) / (1 + spread), (centre + reach) / (1 + spread)
    # What rounding leaves of the ends that are exact.
    return (0.0 if of == 0 else low), (1.0 if of == rows else high)
