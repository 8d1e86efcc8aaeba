import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gemma3n.routes.blocks import Blocks


class Plain:
    def __init__(self, weight: Tensor) -> None:
        self.weight, self.shape = weight, (weight.shape[0], weight.shape[1])
        self.bytes = weight.numel() * weight.element_size()

    def __call__(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == self.shape[1]
        return F.linear(x, self.weight)


def cut(weight: Tensor, axis: int, borders: list[int]) -> Blocks:
    ends = sorted({*borders, weight.shape[axis]})
    pieces = weight.tensor_split(ends[:-1], axis)
    return Blocks([Plain(piece) for piece in pieces], axis)


@given(
    axis=st.integers(0, 1),
    borders=st.lists(st.integers(1, 4), max_size=3),
    columns=st.integers(1, 5),
    start=st.integers(0, 6),
    count=st.integers(1, 7),
)
def test_blocks_compute_any_run_of_rows_of_any_prefix_of_columns(
    axis: int, borders: list[int], columns: int, start: int, count: int
) -> None:
    weight, x = torch.randn(7, 5), torch.randn(2, 3, columns)
    rows = range(start, min(start + count, 7))
    blocks = cut(weight, axis, borders)
    expected = F.linear(x, weight[:, :columns])
    torch.testing.assert_close(blocks(x), expected)
    torch.testing.assert_close(blocks(x, rows), expected[..., rows.start : rows.stop])
    assert blocks.shape == (7, 5)
    assert blocks.bytes == 4 * 35


@pytest.mark.parametrize(("axis", "used"), [(0, range(2)), (1, None)])
def test_blocks_past_the_part_in_use_are_not_read(axis: int, used: range | None) -> None:
    weight = torch.randn(4, 4)
    blocks = cut(weight, axis, [2])
    blocks.blocks[1] = None  # type: ignore[call-overload]
    x = torch.randn(3, 2 if axis else 4)
    expected = F.linear(x, weight[:2] if axis == 0 else weight[:, :2])
    torch.testing.assert_close(blocks(x, used), expected)


def test_more_columns_than_a_weight_has_are_refused() -> None:
    with pytest.raises(ValueError, match="x has 6 columns, but this weight has 5"):
        Blocks([Plain(torch.randn(7, 5))])(torch.randn(2, 6))
