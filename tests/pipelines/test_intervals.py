import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.intervals import FEWEST, Metric, Part, Rows, wilson

ERRORS = {"wer": Metric("WER %", lower_is_better=True)}
SHARE = {"exact": Metric("exact %")}
PARTS = st.lists(st.builds(Part, st.integers(0, 5), st.integers(2, 5)), min_size=1, max_size=20)


def errors(parts: list[Part]) -> Rows:
    return Rows(ERRORS, {"wer": parts}, {})


def share(*of: int) -> Rows:
    return Rows(SHARE, {"exact": [Part(one, 1) for one in of]}, {})


@given(parts=PARTS)
def test_an_interval_lies_within_the_rows(parts: list[Part]) -> None:
    found = errors(parts).score("wer")
    assert found.value == pytest.approx(sum(p.of for p in parts) / sum(p.out_of for p in parts))
    if len(parts) < FEWEST:
        assert found.low is None
        return
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.high
    shares = [part.of / part.out_of for part in parts]
    if 0 < found.value < 1:
        assert min(shares) - 1e-9 <= found.low
        assert found.high <= max(shares) + 1e-9


def test_a_share_of_rows_has_wilsons_interval() -> None:
    found = share(*[1] * 15, *[0] * 5).score("exact")
    # R: prop.test(15, 20, correct = FALSE)$conf.int
    assert (found.low, found.high) == pytest.approx((0.5313, 0.8881), abs=1e-4)


@pytest.mark.parametrize("rows", [1, 10, 1000])
def test_no_error_at_all_does_not_mean_that_there_never_is_one(rows: int) -> None:
    none = errors([Part(0, 7)] * max(rows, FEWEST)).score("wer")
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(wilson(0, max(rows, FEWEST))[1])
    assert 3 / max(rows, FEWEST) * 0.7 < (none.high or 0) < 4 / max(rows, FEWEST)
    exact = share(*[1] * rows).score("exact")
    assert exact.high == 1
    assert exact.low == pytest.approx(1 - wilson(0, rows)[1])
    always = errors([Part(3, 3)] * max(rows, FEWEST)).score("wer")
    assert always.high == 1
    assert (always.low or 0) < 1


def test_more_rows_give_a_narrower_interval() -> None:
    def width(count: int) -> float:
        found = errors([Part(n % 2, 2) for n in range(count)]).score("wer")
        assert found.value == 0.25
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(1000) < width(10) / 5


def test_a_difference_is_paired_and_tells_rows_that_won() -> None:
    worse = errors([Part(1, 1), Part(1, 1), Part(0, 1)] * 10)
    better = errors([Part(1, 1), Part(0, 1), Part(0, 1)] * 10)
    found = worse.difference("wer", better)
    assert found.value == pytest.approx(1 / 3)
    assert found.low is not None
    assert found.low > 0
    assert (found.wins, found.losses, found.ties) == (0, 10, 20)
    other = better.difference("wer", worse)
    assert (other.wins, other.losses) == (10, 0)
    assert share(1, 0, 1).difference("exact", share(0, 0, 1)).wins == 1


def test_the_narrower_interval_of_a_paired_difference_comes_from_pairing() -> None:
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 9, 200)  # both err on the same rows
    one = errors([Part(float(n), 9) for n in hard])
    two = errors([Part(float(min(9, n + (at % 9 == 0))), 9) for at, n in enumerate(hard)])
    paired, alone = two.difference("wer", one), one.score("wer")
    assert paired.low is not None
    assert paired.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_rows_that_never_differ_may_still_differ_elsewhere_but_not_from_themselves() -> None:
    one, same = errors([Part(1, 4)] * 50), errors([Part(1, 4)] * 50)
    found = one.difference("wer", same)
    assert found.value == 0
    assert found.high == -(found.low or 0) == pytest.approx(wilson(0, 50)[1])
    itself = one.difference("wer", one)
    assert (itself.low, itself.high) == (0, 0)


def test_a_score_that_pools_is_not_a_mean_over_rows() -> None:
    pooled = {"p": Metric("p", value=lambda sums: sums[..., 0] / sums[..., 1])}
    parts = {"p": [Part(1, 1), *[Part(0, 1)] * 19]}
    counts = {"p": np.array([[90.0, 90.0], *[[0.0, 1.0]] * 19])}
    found = Rows(pooled, parts, counts)
    assert found.score("p").value == pytest.approx(90 / 109)
