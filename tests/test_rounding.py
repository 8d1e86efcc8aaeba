import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.rounded import GROUP
from gemma3n.rounding import from_int4, from_int8, to_int4, to_int8

SPREAD = st.sampled_from([1e-20, 1e-3, 1.0, 1e10])
SHIFT = st.sampled_from([-30.0, 0.0, 0.5])


def drawn(rows: int, columns: int, spread: float, shift: float) -> torch.Tensor:
    return (torch.randn(rows, columns) + shift) * spread


@given(rows=st.integers(1, 5), columns=st.integers(1, 70), spread=SPREAD, shift=SHIFT)
def test_int8_moves_no_weight_by_more_than_half_its_scale(
    rows: int, columns: int, spread: float, shift: float
) -> None:
    weight = drawn(rows, columns, spread, shift)
    q, scale = to_int8(weight)
    moved = (from_int8(q, scale).double() - weight.double()).abs()
    assert (moved <= scale[:, None].double() * (0.5 + 1e-4)).all()
    assert q.abs().amax(1).tolist() == [127] * rows


@given(rows=st.integers(1, 5), groups=st.integers(1, 3), spread=SPREAD, shift=SHIFT)
def test_int4_moves_no_weight_by_more_than_half_its_scale(
    rows: int, groups: int, spread: float, shift: float
) -> None:
    weight = drawn(rows, groups * GROUP, spread, shift)
    packed, scale, zero = to_int4(weight)
    assert packed.shape == (rows, groups * GROUP // 2)
    back = from_int4(packed, scale, zero, torch.float32).unflatten(1, (-1, GROUP)).double()
    moved = (back - weight.unflatten(1, (-1, GROUP)).double()).abs()
    noise = weight.abs().max().double() * 1e-6
    assert (moved <= scale[..., None].double() * 0.5 + noise).all()


def test_int4_spends_its_sixteen_steps_on_the_range_of_each_group() -> None:
    weight = torch.linspace(3.0, 4.5, GROUP)[None]
    _, scale, _ = to_int4(weight)
    assert scale.item() == pytest.approx(1.5 / 15, rel=0.1)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_weights_that_are_all_the_same_stay_so(value: float) -> None:
    weight = torch.full((2, GROUP), value)
    torch.testing.assert_close(from_int8(*to_int8(weight)), weight)
    torch.testing.assert_close(from_int4(*to_int4(weight), torch.float32), weight)
