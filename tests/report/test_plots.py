from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.report.plots import axis, line, nice_step, stairs

values = st.lists(st.floats(-1e9, 1e9).map(lambda v: round(v, 6)), max_size=6)


@given(values=values, from_zero=st.booleans(), most=st.integers(2, 8))
@example(values=[-1.0], from_zero=True, most=2)
@example(values=[0.0], from_zero=True, most=2)
def test_an_axis_holds_its_values_and_few_round_numbers(
    values: list[float], from_zero: bool, most: int
) -> None:
    over = axis(values, from_zero, most)
    assert all(-1e-6 <= over.at(value) <= 100 + 1e-6 for value in values)
    ticks = over.ticks(lambda value: f"{value:g}", most)
    assert 1 <= len(ticks) <= most + 1
    assert all(-1e-6 <= tick.at <= 100 + 1e-6 for tick in ticks)


def test_what_is_never_negative_has_no_room_below_zero() -> None:
    assert axis([0.1, 40.0], from_zero=False).low == 0.0
    assert axis([-1.0, 40.0], from_zero=False).low < -1.0


@given(span=st.floats(1e-9, 1e12), most=st.integers(2, 9))
def test_a_nice_step_fits_at_most_so_often(span: float, most: int) -> None:
    assert span / nice_step(span, most) <= most * (1 + 1e-6)
    assert span / nice_step(span, most) >= most / 2.51 * (1 - 1e-6)


def test_paths_count_from_the_top_left() -> None:
    assert line([(0, 0), (50, 100)]) == "M0.00 100.00L50.00 0.00"
    assert stairs([1.0, 2.0], axis([2.0])) == (
        "M0 100L0.00 50.00L50.00 50.00L50.00 0.00L100.00 0.00L100 100Z"
    )
    assert line([]) == ""
