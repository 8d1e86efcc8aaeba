import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.series import column, rates, series_of


@given(
    steps=st.lists(
        st.tuples(st.floats(0.01, 5), st.integers(0, 4), st.floats(0, 5)), min_size=2, max_size=30
    ),
    knows_busy=st.booleans(),
)
def test_rates_over_time_add_up_to_the_rows(
    steps: list[tuple[float, int, float]], knows_busy: bool
) -> None:
    times = np.cumsum([0.0, *(gap for gap, _, _ in steps)])
    rows = np.cumsum([0.0, *(count for _, count, _ in steps)])
    busy = np.cumsum([0.0, *(seconds for _, _, seconds in steps)]) if knows_busy else None
    found = rates(times, rows, busy, bins=7)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum() * (times[-1] / 7), rows[-1], atol=1e-6)


def test_a_batch_belongs_to_the_time_that_its_stage_was_busy() -> None:
    times, rows, busy = np.array([0, 9, 10.0]), np.array([0, 0, 4.0]), np.array([0, 0, 5.0])
    assert rates(times, rows, busy, bins=2).tolist() == [0.0, 0.8]


def test_the_queue_is_what_left_one_stage_and_not_yet_the_next() -> None:
    timeline = {
        "samples": {
            "seconds": [0, 1, 2, 4],
            "read.rows": [0, 6, 6, 6],
            "decode.rows": [0, 0, 6, 6],
            "decode.seconds": [0, 0, 1, 1],
        }
    }
    series = series_of(timeline, ["read", "mel", "decode"])
    assert series is not None
    read, decode = series.stages
    assert (series.seconds, read.name, decode.name) == (4, "read", "decode")
    assert read.queue is None
    assert decode.queue is not None
    np.testing.assert_allclose(decode.queue.max(), 6)
    np.testing.assert_allclose(decode.queue.mean() * 4, 6)  # six rows for one second


def test_a_timeline_of_nothing_or_nonsense_gives_no_series() -> None:
    assert series_of({}, ["read"]) is None
    assert series_of({"samples": {"seconds": [0.0]}}, ["read"]) is None
    assert series_of({"samples": {"seconds": ["a", "b"]}}, ["read"]) is None
    assert column({"seconds": [1, float("nan")]}, "seconds") is None
    assert column({"seconds": [[1], [2]]}, "seconds") is None
