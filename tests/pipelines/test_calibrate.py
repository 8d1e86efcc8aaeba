"""Calibration on rows whose right threshold is known, since they were made with it."""

import numpy as np
import pytest

from gemma3n.policy import is_unsure
from pipelines.calibrate import Answer, Choice, calibrate, curve
from pipelines.intervals import Metric, Part

WER = Metric("WER %", lower_is_better=True)
EXACT = Metric("exact %")


def answer(errors: float, words: float = 10) -> Answer:
    return Answer(Part(errors, words), (errors, words))


def choice(number: int, logprob: float | None, small: float, large: float) -> Choice:
    answers = [answer(small)] + ([] if logprob is None else [answer(large)])
    logprobs = [] if logprob is None else [logprob]
    return Choice(str(number), logprobs, [7] * len(logprobs), 5, 7, answers, answer(large))


def rows(count: int, limit: float = -1.0) -> list[Choice]:
    """Small errs where it is less sure than `limit`, and large nowhere."""
    sure = np.random.default_rng(1).uniform(-2, 0, count)
    return [choice(n, float(p), 5 if p < limit else 0, 0) for n, p in enumerate(sure)]


def test_the_threshold_is_where_the_small_size_begins_to_err() -> None:
    found = calibrate(rows(400), ("small", "full"), "wer", WER, tolerance=0.0, seed=0)
    assert found.threshold == pytest.approx(-1, abs=0.03)
    auto, small, large = (found.judged[name] for name in ("auto", "small", "large"))
    assert auto.share == pytest.approx(0.5, abs=0.1)
    assert auto.score.value < 0.01 < 0.2 < small.score.value
    assert large.score.value == 0
    assert auto.large_tokens == 7 * round(auto.share * 200)
    assert (auto.small_tokens, small.large_tokens, large.small_tokens) == (1000, 0, 0)
    assert large.large_tokens == 1400
    assert small.over_large.losses == round(small.score.value / 0.5 * 200)
    assert found.rows == {"chosen_on": 200, "judged_on": 200}


def test_more_tolerance_asks_fewer_rows_again() -> None:
    made = rows(400)
    strict, lax = (
        calibrate(made, ("s", "l"), "wer", WER, tolerance, seed=0) for tolerance in (0.0, 0.1)
    )
    assert lax.judged["auto"].share < strict.judged["auto"].share
    assert 0 < lax.judged["auto"].score.value <= 0.15
    assert lax.judged["auto"].share > 0.1


def test_a_small_size_that_is_good_enough_is_never_asked_again() -> None:
    made = [choice(n, -n / 100, 1, 1) for n in range(1, 41)]
    found = calibrate(made, ("s", "l"), "wer", WER, tolerance=0.0, seed=0)
    assert found.threshold is None
    assert found.judged["auto"].share == 0
    assert found.judged["auto"].score == found.judged["small"].score


def test_a_score_that_is_better_when_higher_is_kept_high() -> None:
    made = [
        Choice(str(n), [-n / 40], [1], 1, 1, [right(n > 20), right(True)], right(True))
        for n in range(40)
    ]
    # The surer the small size is, the likelier it errs: only asking all again helps.
    found = calibrate(made, ("s", "l"), "exact", EXACT, tolerance=0.0, seed=3)
    assert found.judged["auto"].score.value == 1
    assert found.judged["auto"].share > 0.8


def right(is_right: bool) -> Answer:
    return Answer(Part(float(is_right), 1), (float(is_right), 1.0))


def test_another_seed_splits_otherwise_and_the_same_seed_alike() -> None:
    made = rows(60)
    one, same, other = (
        calibrate(made, ("s", "l"), "wer", WER, tolerance=0.0, seed=seed) for seed in (0, 0, 1)
    )
    assert one == same
    assert one.curve != other.curve


def test_a_curve_goes_from_nothing_to_everything_asked_again_and_keeps_its_ends() -> None:
    made = rows(500)
    points = curve(made, WER)
    assert points[0].threshold is None
    assert points[0].share == points[0].large_tokens == 0
    assert points[-1].share == 1
    assert points[-1].score == 0
    assert [p.share for p in points] == sorted(p.share for p in points)
    kept = calibrate(made, ("s", "l"), "wer", WER, tolerance=0.0, seed=0).curve
    assert len(kept) == 101
    assert (kept[0].share, kept[-1].share) == (0, 1)


def test_every_threshold_of_a_curve_does_what_the_curve_says() -> None:
    made = [*rows(30), choice(90, -0.5, 9, 0), choice(91, -0.5, 9, 0), choice(92, 0.0, 9, 0)]
    for point in curve(made, WER):
        asked = [c for c in made if any(is_unsure(one, point.threshold) for one in c.logprobs)]
        assert len(asked) / len(made) == pytest.approx(point.share)
        assert sum(sum(c.again_tokens) for c in asked) == point.large_tokens
        errors = sum((c.large if c in asked else c.answers[0]).part.of for c in made)
        assert errors / (10 * len(made)) == pytest.approx(point.score)


@pytest.mark.parametrize("logprob", [None, 0.0])
def test_a_row_without_tokens_or_doubt_stays_with_the_small_size(logprob: float | None) -> None:
    made = [*rows(40), *(choice(100 + n, logprob, 10, 0) for n in range(10))]
    found = calibrate(made, ("s", "l"), "wer", WER, tolerance=0.0, seed=0)
    assert found.judged["large"].score.value == 0
    assert found.judged["auto"].score.value > 0
    assert not is_unsure(None, 0.0)
    assert not is_unsure(-1.0, None)
    assert is_unsure(-1.0, -0.5)


def test_segments_of_one_item_are_asked_again_one_by_one() -> None:
    long = Choice("long", [-2.0, -1.0], [3, 4], 9, 11, [answer(6), answer(2), answer(0)], answer(0))
    points = curve([long, choice(1, -1.5, 4, 0)], WER)
    assert [point.score for point in points] == [10 / 20, 6 / 20, 2 / 20, 0]
    assert [point.large_tokens for point in points] == [0, 3, 10, 14]
    assert [point.threshold for point in points] == [None, -1.75, -1.25, 0.0]
