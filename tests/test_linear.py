import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from gemma3n.linear import Linear, TiedEmbedding


@given(columns=st.integers(1, 5), start=st.integers(0, 6), stop=st.integers(1, 7))
def test_a_part_of_a_map_is_the_map_of_that_part_of_the_weight(
    columns: int, start: int, stop: int
) -> None:
    rows = range(min(start, stop - 1), stop)
    linear, x = Linear(5, 7), torch.randn(2, 3, columns)
    part = linear.weight[rows.start : rows.stop, :columns]
    torch.testing.assert_close(linear(x, rows), F.linear(x, part))
    torch.testing.assert_close(linear(x), F.linear(x, linear.weight[:, :columns]))


def test_more_inputs_than_a_map_has_are_an_error() -> None:
    with pytest.raises(RuntimeError):
        Linear(5, 7)(torch.randn(2, 6))


def test_gradients_reach_the_part_that_was_used_and_no_other() -> None:
    linear = Linear(5, 7)
    linear(torch.randn(2, 3), range(2, 4)).sum().backward()
    assert linear.weight.grad is not None
    used = torch.zeros(7, 5, dtype=torch.bool)
    used[2:4, :3] = True
    assert torch.equal(linear.weight.grad != 0, used)


def test_a_tied_embeddings_head_is_its_table() -> None:
    table, hidden = TiedEmbedding(7, 5), torch.randn(2, 3, 5)
    torch.testing.assert_close(table.project(hidden), F.linear(hidden, table.weight))
    assert list(table.state_dict()) == list(Linear(5, 7).state_dict()) == ["weight"]
