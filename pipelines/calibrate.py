"""When is the small size sure enough? Its log-probabilities -> the threshold of `policy=auto`.

The small size answers every row; a segment whose mean token log-probability is under a threshold
is answered again by the large one. Both have answered all labelled rows already, so each threshold
can be judged without running anything. The threshold is chosen on one half of the rows and judged
on the other: on the rows that chose it, it would look better than it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gemma3n.policy import is_unsure
from pipelines.intervals import F64, Difference, Metric, Part, Rows, Score

FEWEST = 20  # labelled rows, ten a half
HIGHEST = 0.0  # threshold: what is certain is never asked again
_DRAWN = 101  # points of a curve that are kept


@dataclass(frozen=True)
class Answer:
    """An item as some of its segments are answered by the one size, the others by the other."""

    part: Part
    counts: Sequence[float]  # what it adds to the sums of the score


@dataclass(frozen=True)
class Choice:
    """One labelled item as both sizes answered it; its segments, the least sure one first."""

    item: str
    logprobs: Sequence[float]  # of the small size's segments that have any, ascending
    again_tokens: Sequence[int]  # new tokens of the large size for those segments
    small_tokens: int  # of all its segments
    large_tokens: int
    answers: Sequence[Answer]  # [n]: with the n least sure segments answered by the large size
    large: Answer  # with all of them, also those that the small one said nothing of


@dataclass(frozen=True)
class Point:
    """What one threshold costs and gives."""

    threshold: float | None  # segments under it are answered again; None for none at all
    share: float  # of segments that are answered again, 0..1
    small_tokens: int
    large_tokens: int
    score: float


@dataclass(frozen=True)
class Judged:
    """A point on the half that did not choose it, with 95 % intervals."""

    share: float
    small_tokens: int
    large_tokens: int
    score: Score
    over_large: Difference  # to the large size alone, on the same rows


@dataclass(frozen=True)
class Calibration:
    """The chosen threshold, and what it does to rows that had no say in it."""

    small: str
    large: str
    metric: str
    lower_is_better: bool
    tolerance: float
    seed: int
    rows: dict[str, int]  # `chosen_on`, `judged_on`
    threshold: float | None  # None: the small size alone is within the tolerance
    chosen: Point  # on the half that chose it
    judged: dict[str, Judged]  # `small` alone, `auto`, `large` alone
    curve: list[Point]  # cost against quality on the half that judges, cheapest first


def calibrate(
    choices: Sequence[Choice],
    sizes: tuple[str, str],
    name: str,
    metric: Metric,
    tolerance: float,
    seed: int,
) -> Calibration:
    """Choose a threshold on one half of the rows, judge it on the other.

    The threshold is the lowest, so the cheapest, whose score is no more than `tolerance` worse than
    the large size's. If none is, since segments that the small size said nothing of or was certain
    of always stay with it, it is the one with the best score.

    Args:
        choices: labelled rows, at least `FEWEST`.
        sizes: names of the small size and the large one.
        name: of the metric.
        metric: that says what is better.
        tolerance: 0..1, in the unit of the score.
        seed: of the split.
    """
    order = np.random.default_rng(seed).permutation(len(choices))
    half = len(choices) // 2
    choosing = [choices[n] for n in sorted(order[:half])]
    judging = [choices[n] for n in sorted(order[half:])]
    worse = 1 if metric.lower_is_better else -1
    large = _score([choice.large for choice in choosing], metric)
    points = curve(choosing, metric)
    fits = [point for point in points if worse * (point.score - large) <= tolerance + 1e-12]
    chosen = fits[0] if fits else min(points, key=lambda point: worse * point.score)
    return Calibration(
        small=sizes[0],
        large=sizes[1],
        metric=name,
        lower_is_better=metric.lower_is_better,
        tolerance=tolerance,
        seed=seed,
        rows={"chosen_on": len(choosing), "judged_on": len(judging)},
        threshold=chosen.threshold,
        chosen=chosen,
        judged=_judged(judging, metric, chosen.threshold),
        curve=_thinned(curve(judging, metric)),
    )


def curve(choices: Sequence[Choice], metric: Metric) -> list[Point]:
    """What every threshold would do, from the lowest (nothing is answered again) up."""
    sums = np.array([choice.answers[0].counts for choice in choices], np.float64).sum(0)
    small = sum(choice.small_tokens for choice in choices)
    segments = sum(len(choice.logprobs) for choice in choices)
    steps = sorted(
        (logprob, tokens, number, nth)
        for number, choice in enumerate(choices)
        for nth, (logprob, tokens) in enumerate(
            zip(choice.logprobs, choice.again_tokens, strict=True)
        )
        if logprob < HIGHEST
    )
    points = [Point(None, 0.0, small, 0, float(metric.of_sums(sums)))]
    large = 0
    for done, (logprob, tokens, number, nth) in enumerate(steps, start=1):
        answers = choices[number].answers
        sums += np.subtract(answers[nth + 1].counts, answers[nth].counts)
        large += tokens
        following = steps[done][0] if done < len(steps) else None
        if following != logprob:  # segments that are equally sure go together
            above = _between(logprob, following)
            score = float(metric.of_sums(sums))
            points.append(Point(above, done / segments, small, large, score))
    return points


def _between(low: float, high: float | None) -> float:
    """A threshold that `low` is under and `high`, if there is any, is not."""
    if high is None:
        return HIGHEST
    middle = (low + high) / 2
    return middle if low < middle else high


def _judged(
    choices: Sequence[Choice], metric: Metric, threshold: float | None
) -> dict[str, Judged]:
    taken = [sum(is_unsure(one, threshold) for one in choice.logprobs) for choice in choices]
    small = sum(choice.small_tokens for choice in choices)
    again = sum(sum(choice.again_tokens[:n]) for choice, n in zip(choices, taken, strict=True))
    segments = sum(len(choice.logprobs) for choice in choices)
    large = _rows([choice.large for choice in choices], metric)
    of = {
        "small": ([choice.answers[0] for choice in choices], 0.0, small, 0),
        "auto": (
            [choice.answers[n] for choice, n in zip(choices, taken, strict=True)],
            sum(taken) / max(1, segments),
            small,
            again,
        ),
    }
    judged = {}
    for name, (answers, share, small_tokens, large_tokens) in of.items():
        rows = _rows(answers, metric)
        over = rows.difference(_ONLY, large)
        judged[name] = Judged(share, small_tokens, large_tokens, rows.score(_ONLY), over)
    tokens = sum(choice.large_tokens for choice in choices)
    alone = large.difference(_ONLY, large)
    judged["large"] = Judged(1.0, 0, tokens, large.score(_ONLY), alone)
    return judged


_ONLY = "score"


def _rows(answers: Sequence[Answer], metric: Metric) -> Rows:
    counts: F64 = np.array([answer.counts for answer in answers], np.float64)
    return Rows({_ONLY: metric}, {_ONLY: [answer.part for answer in answers]}, {_ONLY: counts})


def _score(answers: Sequence[Answer], metric: Metric) -> float:
    return float(metric.of_sums(np.array([a.counts for a in answers], np.float64).sum(0)))


def _thinned(points: list[Point]) -> list[Point]:
    """So many points that a drawing shows no more, the first and the last among them."""
    if len(points) <= _DRAWN:
        return points
    kept: npt.NDArray[np.int64] = np.linspace(0, len(points) - 1, _DRAWN).round().astype(int)
    return [points[n] for n in kept]
